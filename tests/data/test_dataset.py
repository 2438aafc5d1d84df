"""Batches are functions of their number: the same for any number of processes, from any start, built anew."""

import pickle

import numpy as np
import pytest

import genjax.data
from genjax.data.corpus import Corpus
from genjax.data.dataset import Batches, Dataset, Reading
from genjax.data.rows import WindowRows
from genjax.errors import ConfigError

TEXTS = ["".join(chr(97 + (i * j) % 26) for j in range(5 + (i * 37) % 90)) for i in range(1, 60)]


@pytest.fixture(scope="module")
def corpus_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "letters.txt"
    path.write_text("\n".join(TEXTS))
    return path


def build(path, seed=0, cache_dir=None, **options):
    section = {"path": str(path), "document_separator": "\n", "batch_size": 8, "sequence_length": 16, "evaluation_fraction": 0.2}
    return genjax.data.build(section | options, seed=seed, cache_dir=cache_dir)


def same(a, b):
    assert a.keys() == b.keys()
    assert all(a[name].dtype == b[name].dtype and np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("mode", ["pack", "window"])
@pytest.mark.parametrize("processes", [2, 4, 8])
def test_processes_read_slices_of_the_same_batches(corpus_file, mode, processes):
    datasets = build(corpus_file, mode=mode)
    for dataset, numbers in ((datasets.train, (0, 3, 77)), (datasets.evaluation, range(datasets.evaluation.num_batches))):
        for k in numbers:
            parts = [dataset.batch(k, p, processes) for p in range(processes)]
            same(dataset.batch(k), {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    steps = [next(datasets.train.iterate(5, p, processes)) for p in range(processes)]
    same(datasets.train.batch(5), {name: np.concatenate([part[name] for part in steps]) for name in steps[0]})


@pytest.mark.parametrize("mode", ["pack", "window"])
@pytest.mark.parametrize("reading", [{"num_threads": 0}, {"num_threads": 3, "prefetch": 2}, {"prefetch": 0}])
def test_iterating_from_anywhere_gives_the_batches(corpus_file, mode, reading, tmp_path):
    datasets = build(corpus_file, mode=mode, cache_dir=tmp_path, **reading)
    for start in (0, 13, 10**9):
        batches = datasets.train.iterate(start)
        for k in range(start, start + 6):
            same(next(batches), datasets.train.batch(k))
    found = list(datasets.evaluation.iterate(1))
    assert len(found) == datasets.evaluation.num_batches - 1
    for k, batch in enumerate(found, start=1):
        same(batch, datasets.evaluation.batch(k))


def test_worker_processes_give_the_same_batches(corpus_file, tmp_path):
    dataset = build(corpus_file, cache_dir=tmp_path, num_workers=2).train
    batches = dataset.iterate(1000)
    for k in range(1000, 1005):
        same(next(batches), dataset.batch(k))


@pytest.mark.parametrize("mode", ["pack", "window"])
def test_an_epoch_holds_every_row_once_in_an_order_of_its_own(corpus_file, mode):
    dataset = build(corpus_file, mode=mode, batch_size=1).train
    rows = dataset.info.num_rows
    epochs = [[tuple(dataset.batch(k)["tokens"][0]) for k in range(e * rows, (e + 1) * rows)] for e in range(3)]
    if mode == "pack":
        assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2]) and len(epochs[0]) == rows
    assert epochs[0] != epochs[1] != epochs[2]
    predicted = np.concatenate([dataset.batch(k)["targets"][dataset.batch(k)["loss_mask"] == 1] for k in range(rows)])
    assert len(predicted) == dataset.info.num_predictions
    if mode == "pack":  # every byte and every end of the training documents
        assert np.bincount(predicted, minlength=257)[256] == dataset.info.num_documents
        assert len(predicted) == dataset.info.num_bytes + dataset.info.num_documents


def test_a_batch_that_crosses_epochs_is_rows_of_both(corpus_file):
    whole = build(corpus_file).train
    single = build(corpus_file, batch_size=1).train
    rows = whole.info.num_rows
    k = rows // 8
    assert rows % 8, "the batch must cross the end of the epoch"
    expected = [single.batch(i)["tokens"][0] for i in range(8 * k, 8 * k + 8)]
    assert np.array_equal(whole.batch(k)["tokens"], expected)


@pytest.mark.parametrize("mode", ["pack", "window"])
def test_built_anew_with_and_without_cache_the_batches_are_the_same(corpus_file, mode, tmp_path):
    built = [build(corpus_file, mode=mode, cache_dir=folder).train for folder in (None, tmp_path, tmp_path, None)]
    for k in (0, 9, 1000):
        for other in built[1:]:
            same(built[0].batch(k), other.batch(k))
    assert len({dataset.fingerprint for dataset in built}) == 1


def test_fingerprints_tell_datasets_apart(corpus_file, tmp_path):
    changed = tmp_path / "changed.txt"
    changed.write_text(corpus_file.read_text() + "x")
    options = [
        {},
        {"mode": "window"},
        {"sequence_length": 15},
        {"batch_size": 4},
        {"shuffle": False},
        {"evaluation_fraction": 0.3},
    ]
    options += [
        {"tokenizer": {"name": "character"}},
        {"tokenizer": {"name": "character", "add_eos": True}},
        {"continue_positions": True},
    ]
    fingerprints = [build(corpus_file, **option).train.fingerprint for option in options]
    fingerprints += [build(corpus_file, seed=1).train.fingerprint, build(changed).train.fingerprint]
    fingerprints.append(build(corpus_file).evaluation.fingerprint)
    assert len(set(fingerprints)) == len(fingerprints)
    reading = {"num_threads": 0, "num_workers": 1, "prefetch": 1}
    assert build(corpus_file, **reading).train.fingerprint == fingerprints[0]


def test_runs_of_earlier_versions_keep_their_rows(corpus_file):
    """Whoever changes these changes the data of runs under way: then `text.FORMAT` must change too."""
    first = {mode: build(corpus_file, mode=mode).train.batch(0) for mode in ("pack", "window")}
    assert {mode: batch["tokens"][:3, :6].tolist() for mode, batch in first.items()} == FIRST_TOKENS


def test_without_shuffling_the_text_is_read_in_order(corpus_file):
    dataset = build(corpus_file, mode="window", shuffle=False).train
    rows = np.concatenate([dataset.batch(k)["tokens"] for k in range(4)])
    targets = np.concatenate([dataset.batch(k)["targets"] for k in range(4)])
    assert np.array_equal(rows[1:, 0], targets[:-1, -1])
    packed = build(corpus_file, sequence_length=200, shuffle=False).train
    one, two = (tuple(packed.batch(0)["tokens"][row][:20]) for row in (0, 1))
    text = corpus_file.read_text()
    places = [text.find(bytes(t for t in row[1:8]).decode()) for row in (one, two)]
    assert places == sorted(places)


def test_evaluation_predicts_every_held_out_token_once(corpus_file):
    for mode in ("pack", "window"):
        dataset = build(corpus_file, mode=mode).evaluation
        batches = list(dataset.iterate())
        assert len(batches) == dataset.num_batches == -(-dataset.info.num_rows // 8)
        targets = np.concatenate([batch["targets"][batch["loss_mask"] == 1] for batch in batches])
        assert len(targets) == dataset.info.num_bytes + dataset.info.num_documents
        padding = batches[-1]["loss_mask"].sum(axis=1) == 0
        assert padding.sum() == dataset.num_batches * 8 - dataset.info.num_rows
        assert all((values[padding] == 0).all() for values in batches[-1].values())


def test_evaluation_ends(corpus_file):
    dataset = build(corpus_file).evaluation
    assert list(dataset.iterate(dataset.num_batches)) == []
    with pytest.raises(IndexError, match=f"batch {dataset.num_batches} of {dataset.num_batches}"):
        dataset.batch(dataset.num_batches)
    assert build(corpus_file).train.num_batches is None
    with pytest.raises(IndexError):
        build(corpus_file).train.batch(-1)


def test_the_spec_is_that_of_a_global_batch(corpus_file):
    datasets = build(corpus_file)
    for dataset in (datasets.train, datasets.evaluation):
        batch = dataset.batch(0)
        assert {name: (spec.shape, spec.dtype) for name, spec in dataset.spec.items()} == {
            name: (values.shape, values.dtype) for name, values in batch.items()
        }
        assert sorted(batch) == ["loss_mask", "positions", "segment_ids", "targets", "tokens"]


@pytest.mark.parametrize(
    ("batch_size", "processes", "message"),
    [
        (8, 3, "data.batch_size 8 does not divide over 3 processes; use 6 or 9."),
        (2, 4, "data.batch_size 2 does not divide over 4 processes; use 4."),
    ],
)
def test_a_batch_that_does_not_divide(corpus_file, batch_size, processes, message):
    dataset = build(corpus_file, batch_size=batch_size).train
    for read in (dataset.batch, dataset.iterate):
        with pytest.raises(ConfigError, match=message):
            read(0, 0, processes)


def test_an_error_while_reading_ahead_reaches_the_reader():
    class Broken(WindowRows):
        def fetch(self, epochs, rows):
            raise OSError("the disk is gone")

    rows = Broken(Corpus(np.arange(100, dtype=np.uint16), np.array([0, 100]), 0, 0), 8, 0)
    dataset = Dataset(None, "", Batches(rows, 4, 0, endless=True), Reading(num_threads=2))
    with pytest.raises(OSError, match="the disk is gone"):
        next(dataset.iterate(0))


def test_workers_are_sent_the_place_of_the_tokens_not_the_tokens(corpus_file, tmp_path):
    big = tmp_path / "big.txt"
    big.write_text(corpus_file.read_text() * 200)
    section = {"mode": "window", "evaluation_fraction": 0.0, "document_separator": ""}
    batches = build(big, cache_dir=tmp_path, **section).train.batches
    sent = pickle.dumps(batches)
    assert len(sent) < 2000 < len(batches.rows.corpus.tokens)
    same(pickle.loads(sent).batch(7), batches.batch(7))
    in_memory = build(big, **section).train.batches
    same(pickle.loads(pickle.dumps(in_memory)).batch(7), batches.batch(7))


FIRST_TOKENS = {
    "pack": [[104, 107, 110, 113, 116, 119], [256, 97, 110, 97, 110, 97], [98, 119, 114, 109, 104, 99]],
    "window": [[117, 115, 113, 111, 109, 107], [104, 99, 120, 115, 110, 105], [97, 121, 119, 117, 115, 113]],
}
