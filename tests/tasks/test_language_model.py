"""The language model behind the contract: what it is built from, what it measures, how it samples."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data, tasks
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.errors import ConfigError, RequestError
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import context, make_rules
from genjax.sampling import Sampler

MODEL = {"num_layers": 2, "num_heads": 2, "embed_dim": 32, "context_length": 64}


def build(task=None, model=None, **section):
    info = data.describe({"name": "text", "batch_size": 4, "sequence_length": 32} | section, ByteTokenizer())
    return tasks.build({"name": "language_model", "model": MODEL | (model or {})} | (task or {}), info)


@pytest.fixture(scope="module")
def task():
    return build()


@pytest.fixture(scope="module")
def variables(task):
    return nn.unbox(jax.jit(task.init)(jax.random.key(0)))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 256, (4, 33)).astype(np.int32)
    tokens[0, 1:5] = 256  # eos: a token without text
    mask = np.ones((4, 32), np.int32)
    mask[:, -7:] = 0
    return {
        "tokens": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "segment_ids": np.ones((4, 32), np.int32),
        "positions": np.arange(32, dtype=np.int32)[None].repeat(4, 0),
        "loss_mask": mask,
    }


def test_the_vocabulary_is_the_tokenizers(task):
    assert task.model_config.vocab_size == 257


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": {"vocab_size": 100}}, "vocab_size 100 is smaller than the tokenizer's 257"),
        ({"model": {"size": "gpt2_125m"}}, "did you mean 'gpt2_124m'"),
        ({"model": {"num_leyers": 2}}, "did you mean config.task.model.num_layers"),
        ({"task": {"loss_chunk": 5}}, "loss_chunk 5 does not divide sequence_length 32"),
        ({"sequence_length": 100}, "sequence_length 100 is longer than the model's context_length 64"),
        ({"model": {"num_heads": 3}}, "embed_dim 32 does not divide over num_heads 3"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(**arguments)


def test_metrics_are_means_over_unmasked_targets_and_bits_over_bytes_of_text(task, variables, batch):
    logits = np.asarray(task.model.apply(variables["gpt"], batch["tokens"]), np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nats = -np.take_along_axis(log_probs, batch["targets"][..., None], -1)[..., 0] * batch["loss_mask"]
    totals = task.evaluate(variables, batch, jax.random.key(0))
    values = {name: float(a) / float(b) for name, (a, b) in totals.items()}
    assert values["loss"] == pytest.approx(nats.sum() / batch["loss_mask"].sum(), rel=1e-5)
    text_bytes = ((batch["targets"] < 256) * batch["loss_mask"]).sum()
    assert values["bits_per_byte"] == pytest.approx(nats.sum() / math.log(2) / text_bytes, rel=1e-5)
    assert task.summarize(values)["perplexity"] == pytest.approx(math.exp(values["loss"]))
    loss, aux = task.loss(variables, batch, jax.random.key(0))
    assert float(loss) == pytest.approx(values["loss"], rel=1e-6)
    assert float(aux.weight) == batch["loss_mask"].sum()


def test_a_batch_without_targets_has_loss_zero_and_no_weight(task, variables, batch):
    loss, aux = task.loss(variables, batch | {"loss_mask": np.zeros((4, 32), np.int32)}, jax.random.key(0))
    assert (float(loss), float(aux.weight)) == (0.0, 0.0)


def test_z_loss_is_trained_with_and_not_reported_on_held_out_text(task, variables, batch):
    penalized = build({"z_loss": 0.1})
    plain, more = (float(t.loss(variables, batch, jax.random.key(0))[0]) for t in (task, penalized))
    logits = task.model.apply(variables["gpt"], batch["tokens"], segment_ids=batch["segment_ids"], positions=batch["positions"])
    squares = np.asarray(jax.nn.logsumexp(logits, axis=-1), np.float64) ** 2
    assert more - plain == pytest.approx(0.1 * (squares * batch["loss_mask"]).sum() / batch["loss_mask"].sum(), rel=1e-3)
    held_out = (t.evaluate(variables, batch, jax.random.key(0))["loss"][0] for t in (task, penalized))
    assert float(next(held_out)) == float(next(held_out))


def test_dropout_draws_from_the_key_in_training_and_not_at_all_in_evaluation(batch):
    task = build(model={"dropout": 0.5})
    variables = nn.unbox(jax.jit(task.init)(jax.random.key(0)))
    losses = [float(task.loss(variables, batch, jax.random.key(k))[0]) for k in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    scores = [float(task.evaluate(variables, batch, jax.random.key(k))["loss"][0]) for k in (1, 2)]
    assert scores[0] == scores[1]


def test_a_large_vocabulary_is_computed_in_chunks_unless_the_config_says_otherwise():
    large = {"model": {"vocab_size": 1 << 19}, "batch_size": 256}
    chunk = build(**large)._loss_chunk((256, 32))
    assert chunk and 32 % chunk == 0 and 4 * 256 * chunk * (1 << 19) <= 1 << 30
    assert build(**large, task={"loss_chunk": 0})._loss_chunk((256, 32)) == 0
    with context(make_mesh(MeshConfig()), make_rules(())):  # eight devices share the logits
        assert build(**large)._loss_chunk((256, 32)) == 8 * chunk


def test_flops_follow_the_stated_convention():
    """6 N for the kernels and the tied head, and 12 L D T / 2 for causal attention, for each token."""
    task = build()
    kernels = 2 * 12 * 32 * 32 + 257 * 32
    expected = 4 * 32 * (6 * kernels + 12 * 2 * 32 * 32 / 2)
    assert task.flops_per_step == pytest.approx(expected)


def test_scanned_and_unrolled_layers_write_the_same_text():
    scanned = build(model={"scan_layers": True})
    variables = nn.unbox(jax.jit(scanned.init)(jax.random.key(1)))
    unrolled = build()
    apart = scanned.sampling_variables(variables)
    request = scanned.request_type(prompt="def main", max_new_tokens=12, temperature=0.7)
    (ours,), (theirs,) = (Sampler(t)(v, [request]) for t, v in ((scanned, variables), (unrolled, apart)))
    assert ours == theirs and len(ours.value) > 0


def test_an_empty_prompt_starts_a_document_and_a_missing_tokenizer_is_named(task, variables):
    (artifact,) = Sampler(task)(variables, [task.request_type(prompt="", max_new_tokens=4)])
    assert artifact.metadata["num_tokens"] <= 4
    info = data.describe({"name": "text", "batch_size": 4, "sequence_length": 32})
    bare = tasks.build({"name": "language_model", "model": MODEL | {"vocab_size": 257}}, info)
    with pytest.raises(RequestError, match="no tokenizer"):
        bare.prepare([bare.request_type(prompt="x")])


def test_bfloat16_sampling_casts_kernels_once_and_keeps_norms(task):
    half = build(model={"dtype": "bfloat16"})
    cast = half.sampling_variables(nn.unbox(jax.jit(half.init)(jax.random.key(0))))["gpt"]["params"]
    assert cast["token_embed"]["embedding"].dtype == jnp.bfloat16
    assert cast["final_norm"]["scale"].dtype == jnp.float32
