"""Requests of the code model: what it reads for a gap, where it ends, how samples are ranked, and what cannot be asked."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data, tasks
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.errors import RequestError
from genjax.sampling import Sampler, full_text
from genjax.tasks.code_model import CodeModel
from genjax.tasks.language_model import LanguageModel

PREFIX, MIDDLE, SUFFIX, PAD = 257, 258, 259, 260
EOS = 256
MODEL = {"num_layers": 1, "num_heads": 1, "embed_dim": 8, "context_length": 64}


def build(tokenizer=None):
    info = data.describe({"name": "text", "sequence_length": 32}, tokenizer or ByteTokenizer(fim_tokens=True))
    return tasks.build({"name": "code_model", "model": MODEL}, info)


class Table(CodeModel):
    """A model whose next token depends on the last one alone, by a table of logits."""

    def sampling_variables(self, variables):
        return variables

    def _step(self, variables):
        table = variables["table"]
        return lambda tokens, cache: (table[tokens[:, -1:]], cache.replace(index=cache.index + tokens.shape[1]))


def table_task():
    task = build()
    return Table(task.model_config, task.info, task.config)


def scripted(*chain):
    """Logits that make each token of a chain follow the one before."""
    table = np.zeros((261, 261), np.float32)
    for last, following in zip(chain[:-1], chain[1:], strict=True):
        table[last, following] = 100.0
    return {"table": jnp.asarray(table)}


def read(task, **wish):
    return task._prompt_tokens(task.request_type(**wish))


def test_a_gap_is_read_as_in_the_paper():
    """Bavarian et al. (2022), section 3: PSM, and the variant of SPM that shares its sentinels (SPMv2)."""
    task = build()
    before, after = list(b"def f("), list(b"):\n")
    assert read(task, prefix="def f(", suffix="):\n") == [PREFIX, *before, SUFFIX, *after, MIDDLE]
    assert read(task, prefix="def f(", suffix="):\n", infill_order="spm") == [PREFIX, SUFFIX, *after, MIDDLE, *before]
    assert read(task, file="def f(<FILL>):\n") == read(task, prefix="def f(", suffix="):\n")
    assert read(task, file="def f(#here#):\n", marker="#here#") == read(task, prefix="def f(", suffix="):\n")
    assert read(task, suffix="x") == [PREFIX, SUFFIX, ord("x"), MIDDLE]
    assert read(task, prompt="def f(") == before


def test_a_run_says_the_order_of_gaps_that_name_none():
    task = build()
    spm = dataclasses.replace(task, config=dataclasses.replace(task.config, infill_order="spm"))
    gap = {"prefix": "def f(", "suffix": "):\n"}
    assert read(spm, **gap) == read(task, **gap, infill_order="spm") != read(task, **gap)
    assert read(spm, **gap, infill_order="psm") == read(task, **gap)


def test_a_tokenizer_that_begins_texts_begins_gaps():
    class Beginning(ByteTokenizer):
        adds_bos = True

    assert read(build(Beginning(fim_tokens=True)), prefix="a", suffix="b") == [EOS, PREFIX, 97, SUFFIX, 98, MIDDLE]


def test_a_long_context_keeps_what_is_nearest():
    task = build()
    prompt = "".join(map(chr, range(32, 127)))
    assert read(task, prompt=prompt, max_new_tokens=14) == list(prompt[-50:].encode())
    assert read(task, prompt=prompt[:50], max_new_tokens=14) == list(prompt[:50].encode())
    # 50 tokens, of which three are sentinels: 47 for both sides; the shorter one leaves its part to the other.
    for before, after, kept in ((95, 95, (24, 23)), (95, 10, (37, 10)), (10, 95, (10, 37)), (20, 27, (20, 27))):
        tokens = read(task, prefix=prompt[:before], suffix=prompt[:after], max_new_tokens=14)
        expected = [PREFIX, *prompt[:before].encode()[-kept[0] :], SUFFIX, *prompt[:after].encode()[: kept[1]], MIDDLE]
        assert tokens == expected and len(tokens) <= 50
    request = task.request_type(prefix=prompt, suffix=prompt, max_new_tokens=14)
    (artifact,) = Sampler(table_task())(scripted(MIDDLE, 97, EOS), [request])
    assert artifact.metadata["trimmed_tokens"] == 2 * 95 - 47 and full_text(artifact) == prompt + "a" + prompt
    for wish in ({"prompt": prompt}, {"prefix": prompt, "suffix": "x"}):
        with pytest.raises(RequestError, match="the model's context holds 64"):
            task.prepare([task.request_type(**wish, max_new_tokens=14, trim=False)])
    with pytest.raises(RequestError, match="the model's context holds 64; set max_new_tokens to at most"):
        task.prepare([task.request_type(prefix="a", suffix="b", max_new_tokens=64)])


@pytest.mark.parametrize("end", [EOS, PREFIX, MIDDLE, SUFFIX, PAD])
def test_a_middle_ends_at_the_end_of_text_or_at_any_sentinel(end):
    task = table_task()
    request = task.request_type(prefix="x = (", suffix=")\n", max_new_tokens=9, temperature=0.0)
    (artifact,) = Sampler(task)(scripted(MIDDLE, ord("4"), ord("2"), end), [request])
    assert artifact.value == "42" and artifact.metadata["finish_reason"] == "eos"
    assert (artifact.metadata["prefix"], artifact.metadata["suffix"]) == ("x = (", ")\n")
    assert "prompt" not in artifact.metadata and full_text(artifact) == "x = (42)\n"


def test_pieces_of_a_middle_concatenate_to_the_whole():
    task = table_task()
    request = task.request_type(prefix="x = (", suffix=")\n", max_new_tokens=20, rank=True)
    variables = {"table": jnp.asarray(np.random.default_rng(0).normal(size=(261, 261)), jnp.float32)}
    (whole,) = Sampler(task)(variables, [request], seed=1)
    pieces = list(Sampler(task).stream(variables, request, seed=1))
    assert len(pieces) > 1 and "".join(piece.value for piece in pieces) == whole.value
    assert pieces[-1].metadata == whole.metadata


class Script(Table):
    """A model that writes one text, whatever the prompt of at most 16 tokens is."""

    def _step(self, variables):
        script = variables["script"]

        def step(tokens, cache):
            after = cache.index + tokens.shape[1]
            token = jnp.broadcast_to(script[after - 16], (tokens.shape[0], 1))
            return 100.0 * jnp.eye(261)[token], cache.replace(index=after)

        return step


@pytest.fixture(scope="module")
def script_sampler():
    task = build()
    return Sampler(Script(task.model_config, task.info, task.config))


@pytest.mark.parametrize("following", ["class A", "def g", "# g", "if 1", "print(", "@g"])
def test_a_function_ends_where_the_next_statement_begins(script_sampler, following):
    task = script_sampler.task
    body = f"\tif x: # y\n\t\tprint()\n\n\treturn classy\n{following}"
    script = {"script": jnp.asarray([*body.encode(), *[EOS] * (64 - len(body))])}
    wish = {"max_new_tokens": 44, "temperature": 0.0}
    with_line_end, without, free = (
        script_sampler(script, [task.request_type(prompt=prompt, function=function, **wish)])[0]
        for prompt, function in (("def f(x):\n", True), ("def f(x):", True), ("def f(x):\n", False))
    )
    assert with_line_end.value == "\tif x: # y\n\t\tprint()\n\n\treturn classy" and free.value == body
    assert with_line_end.metadata["finish_reason"] == "stop"
    assert without == with_line_end and without.metadata["prompt"] == "def f(x):\n"


def test_samples_are_ranked_by_their_mean_log_probability():
    task = table_task()
    rng = np.random.default_rng(0)
    table = rng.normal(size=(261, 261)).astype(np.float32)
    table[:, EOS] += 4.0  # texts of different lengths
    table[:, PREFIX:] = -50.0
    wish = {"prompt": "ab", "num_samples": 12, "max_new_tokens": 12}
    plain, ranked, scored = (
        Sampler(task)({"table": jnp.asarray(table)}, [task.request_type(**wish, **more)])
        for more in ({}, {"rank": True}, {"rank": True, "log_probs": True})
    )
    log_probs = table - np.log(np.exp(table).sum(-1, keepdims=True))
    means = []
    for artifact in scored:
        tokens = [ord("b"), *artifact.metadata["tokens"]] + [EOS] * (artifact.metadata["finish_reason"] == "eos")
        means.append(np.mean([log_probs[last, after] for last, after in zip(tokens[:-1], tokens[1:], strict=True)]))
    assert means == sorted(means, reverse=True) and len(set(means)) > 6
    np.testing.assert_allclose([a.metadata["mean_log_prob"] for a in scored], means, rtol=1e-4)
    assert [a.value for a in ranked] == [a.value for a in scored]
    assert [a.metadata["mean_log_prob"] for a in ranked] == [a.metadata["mean_log_prob"] for a in scored]
    assert [a.metadata["sample"] for a in plain] == list(range(12)) and all("mean_log_prob" not in a.metadata for a in plain)
    assert [plain[a.metadata["sample"]].value for a in ranked] == [a.value for a in ranked]
    assert not any({"tokens", "log_probs"} & a.metadata.keys() for a in ranked)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"prompt": "a", "prefix": "b"}, "a prompt is continued, a gap .* filled in; give one"),
        ({"prompt": "a", "suffix": "b"}, "a prompt is continued"),
        ({"prompt": "a", "file": "b<FILL>"}, "a prompt is continued"),
        ({"prefix": "a", "file": "b<FILL>"}, "give the file alone, or prefix and suffix"),
        ({"file": "b"}, "must have the marker '<FILL>' once, but has it 0 times; write it where the gap is"),
        ({"file": "<FILL><FILL>"}, "has it 2 times; leave it in one place, or choose another --marker"),
        ({"file": "b", "marker": ""}, "must have the marker '' once"),
        ({"prefix": "a", "function": True}, "function goes with a prompt of signature and docstring"),
        ({"function": True, "prompt": " \n"}, "function needs a prompt: the signature"),
    ],
)
def test_what_cannot_be_asked(wish, message):
    task = build()
    with pytest.raises(RequestError, match=message):
        task.prepare([task.request_type(**wish)])


def test_a_tokenizer_without_sentinels_cannot_fill_in_but_can_go_on():
    task = build(ByteTokenizer())
    with pytest.raises(RequestError, match="has no sentinel tokens such as <fim_prefix>, <fim_middle>, <fim_suffix>.*train with"):
        task.prepare([task.request_type(prefix="a")])
    assert read(task, prompt="a") == [97]


def test_the_config_chooses_the_class_and_everything_else_is_the_language_models():
    task = build()
    assert type(task) is CodeModel and dataclasses.asdict(task.config)["name"] == "code_model"
    other = tasks.build({"name": "language_model", "model": MODEL}, task.info)
    assert type(other) is LanguageModel and (other.model_config, other.batch_spec) == (task.model_config, task.batch_spec)
