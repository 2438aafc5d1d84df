"""From a config section to a dataset of code, its split and its manifest."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest

import genjax.data
from genjax.data.code.build import clean_sources
from genjax.data.code.config import CodeDataConfig
from genjax.errors import ConfigError, DataError


def code(name, lines=30):
    return "".join(f"value_{name}_{i} = other_{name}_{i - 1} + {i}\n" for i in range(lines))


@pytest.fixture
def folder(tmp_path):
    """Forty files in ten repositories, of which two of each are near duplicates, and two that are not wanted."""
    root = tmp_path / "corpus"
    for number in range(10):
        (root / f"repo{number}").mkdir(parents=True)
        (root / f"repo{number}" / "LICENSE").write_text("Mozilla Public License Version 2.0" if number % 2 else "")
        for name in "abc":
            (root / f"repo{number}" / f"{name}.py").write_text(code(f"{name}{number}"))
        (root / f"repo{number}" / "copy.py").write_text(code(f"c{number}") + "last = 1\n")
    (root / "repo0" / "made.py").write_text("# @generated\n" + code("made"))
    (root / "repo1" / "latin.c").write_bytes(b"/* caf\xe9 */ int main() { return 0; }\n")
    return root


def build(path, cache_dir=None, **options):
    section = {"name": "code", "path": str(path), "batch_size": 4, "sequence_length": 32, "evaluation_fraction": 0.3}
    return genjax.data.build(section | options, seed=0, cache_dir=cache_dir)


def text_of(dataset):
    """All that a dataset of windows predicts, in order."""
    targets = [batch["targets"][batch["loss_mask"] == 1] for batch in dataset.iterate()]
    return dataset.info.tokenizer.decode(np.concatenate(targets))


def manifest(run):
    return [json.loads(line) for line in (run / "data_manifest.jsonl").read_text().splitlines()]


def test_the_manifest_names_every_document_of_the_run(folder, tmp_path):
    datasets = build(folder, tmp_path / "cache", mode="window")
    run = tmp_path / "run"
    run.mkdir()
    datasets.train.info.save(run)
    lines = manifest(run)
    assert [line["path"] for line in lines] == [f"repo{n}/{name}.py" for n in range(10) for name in "abc"]
    for line in lines:
        content = (folder / line["path"]).read_bytes()
        assert (line["sha256"], line["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
        number = int(line["repository"].removeprefix("repo"))
        assert line["language"] == "python" and line["licence"] == ("MPL-2.0" if number % 2 else "")
        assert set(line) == {"path", "language", "licence", "repository", "sha256", "bytes", "split"}
    held_out = [line for line in lines if line["split"] == "evaluation"]
    assert text_of(datasets.evaluation) == "".join((folder / line["path"]).read_text() for line in held_out)
    for side, dataset in (("train", datasets.train), ("evaluation", datasets.evaluation)):
        assert dataset.info.num_bytes == sum(line["bytes"] for line in lines if line["split"] == side)
        assert dataset.info.num_documents == sum(line["split"] == side for line in lines)


def test_the_summary_counts_what_was_left_out(folder, tmp_path):
    info = build(folder, tmp_path / "cache").train.info
    assert str(info).endswith("corpus: 12 of 42 documents left out (10 near duplicates, 1 generated, 1 not text)")
    info.save(tmp_path)
    summary = json.loads((tmp_path / "data_summary.json").read_text())
    assert summary["read"] == {"train": 42}
    assert summary["left_out"] == {"train": {"near duplicates": 10, "generated": 1, "not text": 1}}
    lines = manifest(tmp_path)
    for side in ("train", "evaluation"):
        part = [line for line in lines if line["split"] == side]
        total = sum(line["bytes"] for line in part)
        assert summary[side]["documents"] == len(part) and summary[side]["bytes"] == total
        assert summary[side]["languages"] == {"python": total}
        mozilla = sum(line["bytes"] for line in part if line["licence"])
        assert summary[side]["licences"] == {"MPL-2.0": mozilla, "": total - mozilla}


def test_the_cache_carries_the_record_along(folder, tmp_path):
    cache = tmp_path / "cache"
    first, again = build(folder, cache), build(folder, cache)
    assert str(first.train.info) == str(again.train.info) and first.train.fingerprint == again.train.fingerprint
    (kept,) = [path for path in cache.iterdir() if path.is_dir()]
    whole = (kept / "data_manifest.jsonl").read_bytes()
    (kept / "data_manifest.jsonl").write_bytes(whole[:-5])
    third = build(folder, cache)
    assert third.train.info.files[0].read_bytes() == whole
    in_memory = build(folder)
    assert in_memory.train.info.files == () and in_memory.train.info.notes == first.train.info.notes
    assert np.array_equal(in_memory.train.batch(3)["tokens"], first.train.batch(3)["tokens"])


def test_saving_replaces_what_another_start_left(folder, tmp_path):
    (tmp_path / "data_manifest.jsonl").write_text("old")
    build(folder, tmp_path / "cache").train.info.save(tmp_path)
    assert len(manifest(tmp_path)) == 30 and not list(tmp_path.glob("*.tmp"))


def test_a_repository_is_held_out_as_a_whole(folder, tmp_path):
    build(folder, tmp_path / "cache", group_by_repository=True).train.info.save(tmp_path)
    sides = {}
    for line in manifest(tmp_path):
        sides.setdefault(line["repository"], set()).add(line["split"])
    assert all(len(side) == 1 for side in sides.values()) and {"train"} in sides.values() and {"evaluation"} in sides.values()


def test_near_duplicates_that_are_kept_do_not_cross_the_split(folder, tmp_path):
    options = {"duplicates": {"near": "keep_together"}, "evaluation_fraction": 0.5}
    build(folder, tmp_path / "cache", **options).train.info.save(tmp_path)
    side = {line["path"]: line["split"] for line in manifest(tmp_path)}
    assert len(side) == 40 and all(side[f"repo{n}/c.py"] == side[f"repo{n}/copy.py"] for n in range(10))
    apart = build(folder, tmp_path / "cache", duplicates={"near": "ignore"}, evaluation_fraction=0.5)
    apart.train.info.save(tmp_path)
    side = {line["path"]: line["split"] for line in manifest(tmp_path)}
    assert not all(side[f"repo{n}/c.py"] == side[f"repo{n}/copy.py"] for n in range(10))


def test_named_repositories_are_held_out_and_what_resembles_them_goes(folder, tmp_path):
    shutil.copy(folder / "repo3" / "a.py", folder / "repo7" / "stolen.py")
    options = {"evaluation_repositories": ("repo3", "repo[45]")}
    datasets = build(folder, tmp_path / "cache", **options)
    datasets.train.info.save(tmp_path)
    lines = manifest(tmp_path)
    assert {line["repository"] for line in lines if line["split"] == "evaluation"} == {"repo3", "repo4", "repo5"}
    train = {line["path"] for line in lines if line["split"] == "train"}
    assert len(train) == 21 and "repo7/stolen.py" not in train
    assert "1 like held-out ones" in str(datasets.train.info) and "held out: 3 of 12 documents" in str(datasets.train.info)
    summary = json.loads((tmp_path / "data_summary.json").read_text())
    assert summary["read"] == {"train": 31, "evaluation": 12}


def test_held_out_code_from_another_place(folder, tmp_path):
    other = tmp_path / "other"
    shutil.move(folder / "repo9", other / "project")
    (other / "project" / "near.py").write_text(code("b1") + "more = 1\n")
    build(folder, tmp_path / "cache", evaluation_path=str(other)).train.info.save(tmp_path)
    lines = manifest(tmp_path)
    evaluation = [line["path"] for line in lines if line["split"] == "evaluation"]
    assert evaluation == [f"project/{name}.py" for name in ("a", "b", "c", "near")]
    assert "repo1/b.py" not in {line["path"] for line in lines}


def test_tags_and_order_are_in_what_is_trained_on_but_not_in_the_manifest(folder, tmp_path):
    lines = [
        {"content": code(f"{repo}{i}"), "lang": "Go", "repo": repo, "file": f"{repo}/{i}.go", "licences": ["MIT", "BSD-2-Clause"]}
        for i, repo in enumerate(["x", "y", "x", "y"])
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    fields = {"text_field": "content", "language_field": "lang", "repository_field": "repo", "path_field": "file"}
    options = {"source": "jsonl", "licence_field": "licences", "language_tag": True, "document_order": "repository"}
    options |= {"mode": "window", "evaluation_path": str(tmp_path / "t.jsonl"), "duplicates": {"near": "ignore", "exact": False}}
    datasets = build(tmp_path / "t.jsonl", tmp_path / "cache", **fields, **options)
    order = [0, 2, 1, 3]
    assert text_of(datasets.evaluation) == "".join("// language: go\n" + lines[i]["content"] for i in order)
    datasets.train.info.save(tmp_path)
    found = manifest(tmp_path)[:4]
    assert [line["path"] for line in found] == [lines[i]["file"] for i in order]
    assert {line["licence"] for line in found} == {"MIT AND BSD-2-Clause"} and {line["language"] for line in found} == {"go"}
    assert [line["bytes"] for line in found] == [len(lines[i]["content"]) for i in order]


def test_a_single_file_is_cut_and_both_parts_are_named(tmp_path):
    (tmp_path / "one.py").write_text(code("only", 200))
    datasets = build(tmp_path / "one.py", tmp_path / "cache", mode="window", language_tag=True)
    datasets.train.info.save(tmp_path)
    first, second = manifest(tmp_path)
    assert (first["split"], second["split"]) == ("train", "evaluation")
    held_out = text_of(datasets.evaluation).encode()
    assert second["sha256"] == hashlib.sha256(held_out).hexdigest() and second["bytes"] == len(held_out)
    assert first["bytes"] + second["bytes"] == len("# language: python\n" + code("only", 200))


def test_the_library_and_the_packages_together():
    source, evaluation = clean_sources(CodeDataConfig(source="stdlib+installed", evaluation_repositories=("tqdm",)))
    repositories = {}
    for document in source.source:
        repositories[document.repository] = repositories.get(document.repository, 0) + 1
    assert repositories["cpython"] > 300 and repositories["numpy"] > 100 and "tqdm" not in repositories
    assert {d.repository for d in evaluation} == {"tqdm"}


def test_the_fingerprint_of_the_dataset_follows_the_choice(folder):
    fingerprints = [
        build(folder, **options).train.fingerprint
        for options in ({}, {"filters": {"min_bytes": 33}}, {"language_tag": True}, {"repository_depth": 2})
    ]
    assert len(set(fingerprints)) == 4
    assert build(folder).train.fingerprint == fingerprints[0]


def test_a_description_reads_nothing():
    info = genjax.data.describe({"name": "code", "path": "/nowhere", "sequence_length": 64, "batch_size": 8})
    assert (info.sequence_length, info.batch_size, info.num_documents) == (64, 8, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "folder"}, "config.data.source is 'folder'"),
        ({"encoding_errors": "ignore"}, "config.data.encoding_errors is 'ignore'"),
        ({"document_separator": "\n"}, "data.document_separator does not go with data.name='code'"),
        ({"repository_depth": -1}, "data.repository_depth is -1; it must be 0 or more."),
        ({"document_order": "repository"}, "data.document_order='repository' changes nothing in data.mode='pack'"),
        ({"evaluation_path": "x", "evaluation_repositories": ("a",)}, "were given; use one of them."),
        ({"source": "stdlib", "evaluation_path": "x"}, "data.evaluation_path does not go with data.source='stdlib'"),
        ({"filter": {}}, "unknown key config.data.filter; did you mean config.data.filters?"),
        ({"duplicates": {"near": "drop"}}, "config.data.duplicates.near is 'drop'"),
    ],
)
def test_configs_that_are_refused(folder, options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(folder, **options)


def test_data_that_cannot_be_used(folder, tmp_path):
    with pytest.raises(DataError, match=r"leaves nothing to train on: 42 of 42 documents left out \(4. of another language"):
        build(folder, filters={"languages": ("cobol",)})
    with pytest.raises(DataError, match="all 30 documents of .* belong together .*, so that no part of them can be held out"):
        build(folder, group_by_repository=True, repository_depth=0)
    with pytest.raises(
        DataError, match="no repository of .*corpus fits repo11; it has repo0, repo1, .*Set data.evaluation_repositories"
    ):
        build(folder, evaluation_repositories=("repo11",))
