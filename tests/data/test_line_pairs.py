"""Aligned files to rows: every pair once and whole, packed without touching its neighbours."""

import gzip
import pickle

import numpy as np
import pytest

import genjax.data
from genjax.data.documents import documents
from genjax.data.pair_packing import pack_pairs
from genjax.errors import ConfigError, DataError

SOURCES = [f"a dog number {i} runs" + " far" * (i % 7) for i in range(200)]
TARGETS = [f"ein Hund Nummer {i} läuft" + " weit" * (i % 5) for i in range(200)]
EOS = 256  # of the byte tokenizer


@pytest.fixture
def files(tmp_path):
    with gzip.open(tmp_path / "train.en.gz", "wt", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in SOURCES))
    (tmp_path / "train.de").write_text("\r\n".join(TARGETS))
    return {"source": str(tmp_path / "train.en.gz"), "target": str(tmp_path / "train.de")}


def build(files, cache_dir=None, **section):
    config = {"name": "line_pairs", "tokenizer": {"name": "byte"}, "batch_size": 4, "source_length": 160, "target_length": 150}
    return genjax.data.build(config | files | section, seed=3, cache_dir=cache_dir)


def pairs_of(batch):
    """(source, target, their positions) of every pair in a batch, ends of text checked and left out."""
    for row in range(len(batch["source"])):
        for number in range(1, batch["source_segment_ids"][row].max() + 1):
            texts = []
            for name, side in (("source", "source"), ("targets", "target")):
                own = batch[f"{side}_segment_ids"][row] == number
                tokens = batch[name][row][own]
                assert (batch[f"{side}_positions"][row][own] == np.arange(len(tokens))).all()
                assert tokens[-1] == EOS and (tokens[:-1] < EOS).all()
                texts.append(bytes(tokens[:-1].tolist()).decode())
            yield tuple(texts)


def epoch(dataset):
    count = -(-dataset.info.num_rows // dataset.batch_size)
    return [pair for k in range(count) for pair in pairs_of(dataset.batch(k))][: dataset.info.num_pairs]


@pytest.mark.parametrize("pack", [True, False])
def test_every_pair_is_there_once_on_one_side_of_the_split(files, pack, tmp_path):
    made = build(files, tmp_path / "cache", pack=pack, evaluation_fraction=0.2)
    train, held_out = made.train, made.evaluation
    found = [pair for k in range(held_out.num_batches) for pair in pairs_of(held_out.batch(k))]
    found += [p for row in range(train.info.num_rows) for p in pairs_of(train.batches.rows.fetch(*np.array([[0], [row]])))]
    assert sorted(found) == sorted(zip(SOURCES, TARGETS, strict=True))
    assert 0 < held_out.info.num_pairs < 80
    expected = [(pair.source, pair.target) for pair in documents(config(files), "evaluation")]
    assert sorted(found[: held_out.info.num_pairs]) == sorted(expected)
    if not pack:
        assert train.info.num_rows == train.info.num_pairs
    again = build(files, tmp_path / "cache", pack=pack, evaluation_fraction=0.2).train
    assert again.fingerprint == train.fingerprint
    for name, values in pickle.loads(pickle.dumps(again)).batch(7).items():
        np.testing.assert_array_equal(values, train.batch(7)[name])


def config(files):
    return {"name": "line_pairs", "tokenizer": {"name": "byte"}, "evaluation_fraction": 0.2} | files


def test_other_files_can_be_held_out_and_padding_is_zeros(files):
    held_out = {f"evaluation_{side}": path for side, path in files.items()}
    made = build(files | held_out, batch_size=64)
    assert sorted(epoch(made.train)) != [] and made.train.info.num_pairs == made.evaluation.info.num_pairs == 200
    last = made.evaluation.batch(made.evaluation.num_batches - 1)
    assert all((values[-1] == 0).all() for values in last.values())
    assert (last["targets"][last["target_segment_ids"] == 0] == 0).all()


def test_pairs_that_are_longer_are_left_out_and_counted(files):
    longest = max(len(text.encode()) for text in TARGETS) + 1
    made = build(files, target_length=longest - 1, evaluation_fraction=0.0)
    left_out = sum(len(text.encode()) + 1 == longest for text in TARGETS)
    assert made.train.info.num_pairs == 200 - left_out
    assert f"{left_out} of 200 pairs left out" in str(made.train.info)
    with pytest.raises(DataError, match="all 200 training pairs are longer than data.source_length 160 or data.target_length 9"):
        build(files, target_length=9, evaluation_fraction=0.0)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"source": ""}, "data.source is empty"),
        ({"evaluation_source": "x"}, "given together"),
        ({"tokenizer": {"name": "character"}}, "no token for the end of a text"),
        ({"sorce": "x"}, "did you mean config.data.source"),
    ],
)
def test_what_cannot_be_is_a_sentence(files, section, message):
    with pytest.raises(ConfigError, match=message):
        build(files, **section)


def test_files_that_are_not_aligned_are_named_with_their_lines(files, tmp_path):
    (tmp_path / "short").write_text("\n".join(TARGETS[:-9]))
    with pytest.raises(DataError, match=r"short has 191 lines, .*train.en.gz has 200"):
        build(files | {"target": str(tmp_path / "short")})


def test_packing_fills_rows_and_overfills_none():
    rng = np.random.default_rng(0)
    sizes = np.stack([rng.integers(2, 40, 3000), rng.integers(2, 40, 3000)], axis=1)
    numbers, room = np.arange(3000) * 2, (128, 100)
    plan = pack_pairs(numbers, sizes, room, seed=1)
    assert sorted(plan.pairs) == numbers.tolist()
    totals = np.add.reduceat(sizes[plan.pairs // 2], plan.row_offsets[:-1], axis=0)
    assert (totals <= room).all()
    least = (sizes.sum(axis=0) / room).max()
    assert plan.num_rows < 1.06 * least
    assert (plan.pairs != pack_pairs(numbers, sizes, room, seed=2).pairs).any()
