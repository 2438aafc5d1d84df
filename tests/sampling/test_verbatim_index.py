"""The index of a run: built from its data, asked by a file."""

import json
import shutil

import pytest

from genjax import data
from genjax.evaluation.verbatim import VerbatimIndex
from genjax.sampling import verbatim_index

NAMES = ("json/decoder.py", "heapq.py", "textwrap.py", "shlex.py", "bisect.py", "csv.py", "abc.py", "keyword.py")


@pytest.fixture
def run(tmp_path):
    """A run directory after training on a few modules, some of them held out."""
    corpus, run = tmp_path / "corpus", tmp_path / "run"
    library = json.__path__[0].rpartition("/")[0]
    for name in NAMES:
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(f"{library}/{name}", corpus / name)
    section = {
        "name": "code",
        "source": "files",
        "path": str(corpus),
        "tokenizer": {"name": "byte"},
        "sequence_length": 64,
        "evaluation_fraction": 0.4,
    }
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"task": {"name": "code_model"}, "data": section}))
    data.build(section, seed=0, cache_dir=tmp_path / "cache").train.info.save(run)
    return run


def call(capsys, *arguments):
    code = verbatim_index.main(list(map(str, arguments)))
    captured = capsys.readouterr()
    assert code == (2 if captured.err.startswith("error: ") else 0)
    return captured.err if code else captured.out


def split(run):
    lines = [json.loads(line) for line in (run / "data_manifest.jsonl").read_text().splitlines()]
    return {side: [line["path"] for line in lines if line["split"] == side] for side in ("train", "evaluation")}


def test_the_training_documents_are_indexed_and_found_again(run, tmp_path, capsys):
    sides = split(run)
    assert sides["train"] and sides["evaluation"]
    out = call(capsys, "--workdir", run)
    assert f"of {len(sides['train'])} documents" in out and "not what it was" not in out
    assert sorted(VerbatimIndex.open(run / "verbatim").names) == sorted(sides["train"])
    for name in sides["train"]:
        copied = tmp_path / "copied.py"
        lines = (tmp_path / "corpus" / name).read_text().splitlines(keepends=True)
        copied.write_text("value = 1\n" + "".join(lines[2:30]))
        out = call(capsys, "--workdir", run, "--query", copied)
        assert "copied.py repeats" in out and f": {name}, line " in out
    for name in sides["evaluation"]:
        out = call(capsys, "--workdir", run, "--query", tmp_path / "corpus" / name, "--flagged_tokens=100")
        assert "does not repeat the corpus; it shares at most" in out
    (tmp_path / "new.py").write_text("\u2603")
    assert "new.py shares no token with the corpus" in call(capsys, "--workdir", run, "--query", tmp_path / "new.py")


def test_an_index_is_not_overwritten_unasked_and_changed_data_is_told(run, tmp_path, capsys):
    call(capsys, "--workdir", run)
    assert "verbatim exists; add --overwrite" in call(capsys, "--workdir", run)
    with open(tmp_path / "corpus" / split(run)["train"][0], "a") as file:
        file.write("\n# changed\n")
    out = call(capsys, "--workdir", run, "--overwrite")
    assert "The data is not what it was: " in out and "gone or changed" in out


def test_what_cannot_be_done_is_a_sentence(run, tmp_path, capsys):
    assert "there is no verbatim index in" in call(capsys, "--workdir", run, "--query", __file__)
    call(capsys, "--workdir", run)
    assert "cannot read nowhere.py: no such file" in call(capsys, "--workdir", run, "--query=nowhere.py")
    assert "there is no run directory" in call(capsys, "--workdir", tmp_path / "nowhere")
    shutil.rmtree(tmp_path / "corpus")
    assert "does not exist" in call(capsys, "--workdir", run, "--overwrite")
