"""The documents of either side, against what the dataset itself was made of."""

import json

import pytest

from genjax import data
from genjax.data.code.languages import tag
from genjax.data.documents import documents
from genjax.errors import ConfigError

CODE = "".join(f"def function_{i}(a, b):\n    return a + b * {i}\n\n\n" for i in range(8))


def make_jsonl(path, texts):
    rows = [{"text": text, "content": text, "license": "MIT", "path": f"{number}.py"} for number, text in texts]
    path.write_text("\n".join(map(json.dumps, rows)))


def module(number):
    body = CODE.replace("function", f"name_{number}").replace("b *", f"c{number} *")
    return number, f"# module {number}\nimport module_{number}\n{body}"


def sections(folder):
    texts = [module(number) for number in range(30)]
    make_jsonl(folder / "all.jsonl", texts[:25])
    make_jsonl(folder / "other.jsonl", texts[25:])
    (folder / "one.txt").write_text(CODE * 3)
    base = {"tokenizer": {"name": "byte"}, "sequence_length": 16, "batch_size": 1}
    jsonl = base | {"source": "jsonl", "path": str(folder / "all.jsonl")}
    loose = {"duplicates": {"near": "ignore"}}
    return {
        "text": jsonl | {"name": "text", "evaluation_fraction": 0.3},
        "code": jsonl | {"name": "code", "evaluation_fraction": 0.3, **loose},
        "tagged code": jsonl | {"name": "code", "evaluation_fraction": 0.3, "language_tag": True, **loose},
        "another place": jsonl | {"name": "code", "evaluation_path": str(folder / "other.jsonl"), **loose},
        "one document": base | {"name": "text", "source": "files", "path": str(folder / "one.txt"), "evaluation_fraction": 0.2},
    }


@pytest.mark.parametrize("name", ["text", "code", "tagged code", "another place", "one document"])
def test_the_documents_of_a_side_are_those_of_its_dataset(tmp_path, name):
    section = sections(tmp_path)[name]
    datasets = data.build(section, seed=0, cache_dir=None)
    for side, dataset in (("train", datasets.train), ("evaluation", datasets.evaluation)):
        found = list(documents(section, side))
        assert len(found) == dataset.info.num_documents
        tags = sum(len(tag("python")) for _ in found) if name == "tagged code" else 0
        assert sum(len(document.text.encode()) for document in found) + tags == dataset.info.num_bytes
        tokenizer, (start, stop) = dataset.info.tokenizer, dataset.batches.rows.corpus.offsets[:2]
        first = tokenizer.decode(dataset.batches.rows.corpus.tokens[start : stop + 1])
        assert first.endswith(found[0].text) and len(first) - len(found[0].text) in (0, len(tag("python")))


def test_licence_and_name_stay_with_the_text(tmp_path):
    found = list(documents(sections(tmp_path)["code"], "train"))
    assert {document.licence for document in found} == {"MIT"}
    assert all(document.text.startswith(f"# module {document.name.removesuffix('.py')}\n") for document in found)


def test_an_unknown_kind_is_named():
    with pytest.raises(ConfigError, match="data.name 'coed' is not known; did you mean 'code'"):
        list(documents({"name": "coed"}, "train"))
