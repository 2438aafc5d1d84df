"""Pairs: taken from source as they stand there, packed whole, and learned on the completion alone."""

import ast
import json
import pickle
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import genjax.data
from genjax.data.corpus import tokenize
from genjax.data.documents import documents
from genjax.data.pairs import PairsDataConfig, lay_out_pairs
from genjax.data.sources.pairs import functions_of
from genjax.data.tokenizers.bpe_training import train_bpe
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.data.tokenizers.character import CharacterTokenizer
from genjax.errors import ConfigError, DataError

SOURCE = '''\
"""A module."""
import functools


@functools.cache
@other(
    1
)
def twice(x: int) -> int:
    """Two times x."""

    # doubled
    return 2 * x


class Shape:
    """No function."""

    async def area(self):
        r"""The area.

        In metres\\.
        """
        total = 0
        for side in self.sides:

            total += side
        return total

    def bare(self):
        return 1

    def later(self):
        """To be written."""
        raise NotImplementedError("later")

    def nothing(self):
        """Nothing."""
        ...


def one_line(): """In one line."""; return 3
def left():
    """Has a string at the margin."""
    return """
text"""


def outer():
    """Outer."""
    def inner():
        "Inner."
        return 1
    return inner
'''


def test_functions_with_docstrings():
    found = functions_of(SOURCE)
    assert [line for line, _, _ in found] == [5, 19, 43, 49, 51]
    assert found[0][1:] == (
        '@functools.cache\n@other(\n    1\n)\ndef twice(x: int) -> int:\n    """Two times x."""\n',
        "    # doubled\n    return 2 * x\n",
    )
    assert found[1][1] == 'async def area(self):\n    r"""The area.\n\n    In metres\\.\n    """\n'
    assert found[1][2] == "    total = 0\n    for side in self.sides:\n\n        total += side\n    return total\n"
    assert found[2][2] == '    return """\ntext"""\n'
    assert found[3][2] == '    def inner():\n        "Inner."\n        return 1\n    return inner\n'
    assert found[4][1:] == ('def inner():\n    "Inner."\n', "    return 1\n")


def test_line_ends_tabs_and_what_is_left_out():
    tabs = 'class A:\n\tdef f(self):\n\t\t"""Doc."""\n\t\tx = """\n\t\t  a"""\n\n\t\treturn x\n'
    expected = [(2, 'def f(self):\n\t"""Doc."""\n', '\tx = """\n\t  a"""\n\n\treturn x\n')]
    assert functions_of(tabs) == functions_of(tabs.replace("\n", "\r\n")) == functions_of(tabs.replace("\n", "\r")) == expected
    margin = 'class A:\n    def f(self):\n        """Doc."""\n        return """\nleft"""\n'
    assert functions_of(margin) == []  # moving it to the left would break it
    assert functions_of('def f():\n    "\\d"\n    return "\\d"\n')[0][1] == 'def f():\n    "\\d"\n'
    for broken in ("def f(:\n", "print 1\n", "x = '\0'", "(" * 5000):
        assert functions_of(broken) == []


@pytest.mark.parametrize("module", [json.decoder, textwrap, ast, Path, pickle], ids=lambda m: m.__name__)
def test_functions_of_the_standard_library_stay_what_they_are(module):
    import inspect

    source = inspect.getsource(inspect.getmodule(module))
    originals = {
        min([n.lineno, *(d.lineno for d in n.decorator_list)]): n
        for n in ast.walk(ast.parse(source))
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    found = functions_of(source)
    documented = sum(bool(ast.get_docstring(n)) and len(n.body) > 1 for n in originals.values())
    assert len(found) > 0.8 * documented
    for line, prompt, completion in found:
        (function,) = ast.parse(prompt + completion).body
        assert ast.get_docstring(function).rstrip() == ast.get_docstring(originals[line]).rstrip()
        assert len(function.body) == len(originals[line].body)
        # Code is the same; only strings over several lines may have moved with their indentation.
        assert re.sub(r"\s|\\n", "", ast.dump(function)) == re.sub(r"\s|\\n", "", ast.dump(originals[line]))
        (alone,) = ast.parse(prompt + "    pass\n").body
        assert ast.get_docstring(alone) and alone.name == function.name


CODE = train_bpe([SOURCE], 300, fim_tokens=True)
TOKENIZERS = {
    "one end": ByteTokenizer(),
    "two ends": type(CODE)(CODE.serialized, bos_id=0, eos_id=4, adds_bos=True),
    "no bos": type(CODE)(CODE.serialized, bos_id=None, eos_id=4, adds_bos=False),
    "no ends": CharacterTokenizer("".join(map(chr, range(32, 127)))),
}
WORDS = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=100, deadline=None)
@given(
    pairs=st.lists(st.tuples(WORDS, WORDS.filter(bool)), min_size=1, max_size=12),
    length=st.integers(2, 24),
    seed=st.one_of(st.none(), st.integers(0, 3)),
)
def test_rows_of_pairs(name, pairs, length, seed):
    tokenizer = TOKENIZERS[name]
    corpus = tokenize(pairs, 0, tokenizer, None, "train")
    config = PairsDataConfig(sequence_length=length)
    start, end = [i for i in [tokenizer.bos_id] if i is not None], [i for i in [tokenizer.eos_id] if i is not None]
    whole = []  # (tokens of the pair, how many of them are not learned)
    for prompt, completion in pairs:
        first, last = tokenizer.encode(prompt).tolist(), tokenizer.encode(completion).tolist()
        whole.append(([*start, *first, *last, *end], len(start) + len(first)))
    fitting = sorted((tokens, cut) for tokens, cut in whole if len(tokens) - 1 <= length)
    if not fitting:
        with pytest.raises(
            DataError, match=f"all {len(pairs)} .* pairs are longer than data.sequence_length {length}, the shortest"
        ):
            lay_out_pairs(config, corpus, seed)
        return
    if all(len(tokens) < 2 for tokens, _ in fitting):
        return
    layout = lay_out_pairs(config, corpus, seed)
    rows = pickle.loads(pickle.dumps(layout.rows))
    batch = rows.fetch(np.zeros(rows.num_rows, int), np.arange(rows.num_rows))
    assert {n: (v.shape[1:], v.dtype) for n, v in batch.items()} == dict(rows.columns)
    found = []
    for row in range(rows.num_rows):
        for segment in range(1, batch["segment_ids"][row].max() + 1):
            here = batch["segment_ids"][row] == segment
            tokens = [*batch["tokens"][row][here].tolist(), int(batch["targets"][row][here][-1])]
            learned = batch["loss_mask"][row][here].tolist()
            cut = len(learned) + 1 - sum(learned)
            assert learned == [0] * (cut - 1) + [1] * sum(learned)  # targets: one place before their tokens
            assert batch["positions"][row][here].tolist() == list(range(len(learned)))
            found.append((tokens, cut))
        assert (batch["loss_mask"][row][batch["segment_ids"][row] == 0] == 0).all()
    # A first token that nothing stands before cannot be learned, whatever it is.
    assert sorted(found) == sorted((tokens, max(cut, 1)) for tokens, cut in fitting if len(tokens) > 1)
    assert layout.num_predictions == batch["loss_mask"].sum() and layout.num_targets == (batch["segment_ids"] > 0).sum()
    longer = len(pairs) - len(fitting)
    note = f"{longer} of {len(pairs)} pairs left out (longer than {length} tokens)"
    assert layout.num_documents == len(fitting) and layout.notes == ((note,) if longer else ())


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def build(**options):
    section = {"name": "pairs", "batch_size": 4, "sequence_length": 64, "tokenizer": {"name": "byte"}}
    cache_dir = options.pop("cache_dir", None)
    return genjax.data.build(section | options, seed=0, cache_dir=cache_dir)


def learned_texts(dataset):
    """What the loss is on, pair by pair."""
    tokenizer, texts = dataset.info.tokenizer, []
    rows = dataset.batches.rows
    batch = rows.fetch(np.zeros(rows.num_rows, int), np.arange(rows.num_rows))
    for targets, mask, segments in zip(batch["targets"], batch["loss_mask"], batch["segment_ids"], strict=True):
        for segment in range(1, segments.max() + 1):
            texts.append(tokenizer.decode(targets[(segments == segment) & (mask == 1)]))
    return texts


def test_pairs_from_fields_of_json_lines(tmp_path):
    records = [{"ask": f"add {n % 30}\n", "answer": f"    return x + {n % 30}  # {n}\n"} for n in range(60)]
    records += [{"ask": "long", "answer": "y" * 70}, {"ask": "no answer", "answer": ""}, {"ask": "", "answer": "no prompt"}]
    path = write_lines(tmp_path / "pairs.jsonl", [*records, {"ask": "half", "answer": "\ud800"}])
    options = {"source": "jsonl", "pairs": "fields", "prompt_field": "ask", "completion_field": "answer", "path": path}
    datasets = build(**options, evaluation_fraction=0.3, cache_dir=tmp_path / "cache")
    train, held_out = learned_texts(datasets.train), learned_texts(datasets.evaluation)
    wanted = {record["answer"] for record in records if record["answer"] and len(record["answer"]) < 60}
    assert wanted == {*train, *held_out} and not {*train} & {*held_out}
    asked = [{re.findall(r"\d+", text)[0] for text in texts if "return" in text} for texts in (train, held_out)]
    assert len(asked[1]) > 3 and not asked[0] & asked[1]  # pairs of one prompt stay together
    notes = [note for d in (datasets.train, datasets.evaluation) for note in d.info.notes]
    assert len(notes) == 1 and re.fullmatch(r"1 of \d+ pairs left out \(longer than 64 tokens\)", notes[0])
    assert f"; {notes[0]}" in str(datasets.train.info) + str(datasets.evaluation.info)
    again = build(**options, evaluation_fraction=0.3, cache_dir=tmp_path / "cache")
    assert again.train.fingerprint == datasets.train.fingerprint
    assert all((again.train.batch(3)[n] == datasets.train.batch(3)[n]).all() for n in again.train.spec)
    datasets.train.info.save(tmp_path)
    manifest = [json.loads(line) for line in (tmp_path / "data_manifest.jsonl").read_text().splitlines()]
    assert len(manifest) == 62 and {entry["split"] for entry in manifest} == {"train", "evaluation"}
    assert manifest[0]["path"] == f"{path}, line 1"


def test_held_out_pairs_from_another_file(tmp_path):
    train = write_lines(tmp_path / "a.jsonl", [{"prompt": "p", "completion": "train"}])
    held_out = write_lines(tmp_path / "b.jsonl", [{"prompt": "p", "completion": "held out"}])
    datasets = build(source="jsonl", pairs="fields", path=train, evaluation_path=held_out)
    assert (learned_texts(datasets.train), learned_texts(datasets.evaluation)) == (["train"], ["held out"])


def test_pairs_from_functions_of_files(tmp_path):
    function = 'def {0}(x):\n    """Makes {1}."""\n    return x {2} {1}\n'
    for n in range(12):
        (tmp_path / f"m{n}.py").write_text(function.format("f", n, "+") + "\n\n" + function.format("g", n, "-"))
    (tmp_path / "notes.md").write_text("def f():\n    '''Not Python.'''\n    return 1\n" * 3)
    options = {"path": str(tmp_path), "evaluation_fraction": 0.3, "duplicates": {"near": "ignore"}}
    datasets = build(**options, cache_dir=tmp_path / ".cache")
    train, held_out = learned_texts(datasets.train), learned_texts(datasets.evaluation)
    assert sorted(train + held_out) == sorted(f"    return x {sign} {n}\n" for n in range(12) for sign in "+-")
    files = [{re.findall(r"\d+", text)[0] for text in texts} for texts in (train, held_out)]
    assert files[1] and not files[0] & files[1]  # a file is on one side
    datasets.train.info.save(tmp_path)
    manifest = [json.loads(line) for line in (tmp_path / "data_manifest.jsonl").read_text().splitlines()]
    assert len(manifest) == 24 and manifest[1]["path"].endswith("m0.py:6") and manifest[1]["language"] == "python"
    named = [document.name for document in documents({"name": "pairs"} | options, "evaluation")]
    assert named == [entry["path"] for entry in manifest if entry["split"] == "evaluation"]


def test_no_function_is_both_learned_and_held_out(tmp_path):
    copied = 'def close(self):\n    """Ends it."""\n    self.file.close()\n'
    for place, size in (("code", 12), ("held_out", 2)):
        (tmp_path / place).mkdir()
        for n in range(size):
            own = f'def {place}{n}(x):\n    """Makes {n}."""\n    return x + {n}\n'
            (tmp_path / place / f"m{n}.py").write_text(f"{own}\n\n{copied}")
    options = {"name": "pairs", "path": str(tmp_path / "code"), "duplicates": {"near": "ignore"}}
    sides = [list(documents(options | {"evaluation_fraction": 0.5}, side)) for side in ("train", "evaluation")]
    assert all(sides) and sum(pair.text == copied for side in sides for pair in side) == 1
    elsewhere = options | {"evaluation_path": str(tmp_path / "held_out")}
    assert [pair.text for pair in documents(elsewhere, "evaluation")].count(copied) == 1
    assert len(list(documents(elsewhere, "train"))) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "window"}, "data.mode='window' does not go with data.name='pairs', which packs whole pairs; use 'pack'."),
        ({"fim": {}}, "data.fim does not go with data.name='pairs'"),
        ({"language_tag": True}, "data.language_tag does not go with data.name='pairs'"),
        ({"pairs": "fields"}, "data.pairs='fields' needs data.source='jsonl', but data.source is 'files'."),
        ({"pairs": "field"}, "config.data.pairs is 'field'; did you mean 'fields'?"),
    ],
)
def test_configs_that_are_refused(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(path="x", **options)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            [{"prompt": "a", "answer": "b"}],
            "has no field 'completion'; it has answer, prompt. Set data.completion_field to the one",
        ),
        (
            [{"completion": "b"}],
            "has no field 'prompt'; it has completion. Set data.prompt_field to the one that holds the text.",
        ),
        ([{"prompt": 3, "completion": "b"}], "holds int, not text; set data.prompt_field to another."),
        ([{"prompt": "a", "completion": ""}], "holds no line with a completion in the field 'completion'."),
        (
            [{"prompt": "a", "completion": "b" * 99}],
            "all 1 training pairs are longer than data.sequence_length 64, the shortest by 37",
        ),
    ],
)
def test_records_that_are_refused(tmp_path, records, message):
    path = write_lines(tmp_path / "pairs.jsonl", records)
    with pytest.raises(DataError, match=re.escape(message)):
        build(source="jsonl", pairs="fields", path=path, evaluation_fraction=0.0)


def test_a_single_pair_and_code_without_docstrings(tmp_path):
    path = write_lines(tmp_path / "pairs.jsonl", [{"prompt": "a", "completion": "b"}])
    with pytest.raises(DataError, match="all 1 documents of .* belong together .*; set data.evaluation_fraction to 0"):
        build(source="jsonl", pairs="fields", path=path)
    (tmp_path / "m.py").write_text("def f(x):\n    return x + 1\n" * 3)
    with pytest.raises(DataError, match="has no Python function with a docstring; use other data."):
        build(path=str(tmp_path / "m.py"), duplicates={"near": "ignore"})
