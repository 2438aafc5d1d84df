"""The sequence-to-sequence task behind the contract: what it learns, what it measures, how it answers."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sentencepiece

from genjax import data, tasks
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.errors import ConfigError, RequestError
from genjax.sampling import Sampler
from genjax.tasks.attention import token_labels
from genjax.tasks.seq2seq import Seq2SeqRequest, shift_right

MODEL = {"num_layers": 2, "num_heads": 2, "embed_dim": 32, "dropout": 0.0}
ORIGINAL = {
    **{"position": "sinusoidal", "norm": "layernorm", "norm_position": "post", "use_bias": True},
    **{"scale_attention": True, "scale_embeddings": True, "scale_logits": False},
}


def build(task=None, model=None, **section):
    config = {"name": "line_pairs", "batch_size": 3, "source_length": 24, "target_length": 20} | section
    return tasks.build({"name": "seq2seq", "model": MODEL | (model or {})} | (task or {}), data.describe(config, ByteTokenizer()))


@pytest.fixture(scope="module", params=[{}, ORIGINAL], ids=["t5", "original"])
def task(request):
    return build(model=request.param)


@pytest.fixture(scope="module")
def variables(task):
    return jax.tree.map(lambda x: 3 * x, nn.unbox(jax.jit(task.init)(jax.random.key(0))))


def packed(pairs, source_length, target_length):
    """A batch of one row with all pairs."""
    batch = {}
    for side, names, length in (
        (0, ("source", "source_segment_ids", "source_positions"), source_length),
        (1, ("targets", "target_segment_ids", "target_positions"), target_length),
    ):
        tokens = [list(pair[side]) + [256] for pair in pairs]
        ids = [[number] * len(t) for number, t in enumerate(tokens, 1)]
        for name, values in zip(names, (tokens, ids, [list(range(len(t))) for t in tokens]), strict=True):
            flat = sum(values, [])
            batch[name] = np.array([flat + [0] * (length - len(flat))], np.int32)
    return batch


PAIRS = [(b"two dogs", b"zwei"), (b"a", b"ein Hund"), (b"trees", b"B")]


def test_each_pair_of_a_row_counts_as_it_does_alone(task, variables):
    key = jax.random.key(0)
    evaluate = jax.jit(task.evaluate)
    together = evaluate(variables, packed(PAIRS, 24, 20), key)
    alone = [evaluate(variables, packed([pair], 24, 20), key) for pair in PAIRS]
    for name in ("loss", "accuracy", "bits_per_byte"):
        for i in (0, 1):
            total = sum(float(sums[name][i]) for sums in alone)
            assert float(together[name][i]) == pytest.approx(total, rel=1e-4), name
    text = sum(len(target) for _, target in PAIRS)
    assert (float(together["loss"][1]), float(together["bits_per_byte"][1])) == (text + len(PAIRS), text)


def test_the_loss_is_that_of_the_logits_and_smoothing_is_not_reported_on_held_out_pairs(task, variables):
    batch = packed(PAIRS, 24, 20)
    tokens = shift_right(jnp.asarray(batch["targets"]), jnp.asarray(batch["target_segment_ids"]), task.model_config.start_id)
    logits = jax.jit(task.model.apply)(
        variables["seq2seq"],
        batch["source"],
        tokens,
        input_segment_ids=batch["source_segment_ids"],
        target_segment_ids=batch["target_segment_ids"],
        input_positions=batch["source_positions"],
        target_positions=batch["target_positions"],
    )
    log_probs = np.asarray(jax.nn.log_softmax(logits), np.float64)
    own = batch["target_segment_ids"] > 0
    nll = -np.take_along_axis(log_probs, batch["targets"][..., None], -1)[..., 0][own].mean()
    uniform = -log_probs.mean(-1)[own].mean()
    smooth = build({"label_smoothing": 0.1}, model=vars(task.model_config))
    assert float(jax.jit(task.loss)(variables, batch, jax.random.key(0))[0]) == pytest.approx(nll, rel=1e-4)
    assert float(jax.jit(smooth.loss)(variables, batch, jax.random.key(0))[0]) == pytest.approx(
        0.9 * nll + 0.1 * uniform, rel=1e-4
    )
    total, weight = jax.jit(smooth.evaluate)(variables, batch, jax.random.key(0))["loss"]
    assert float(total / weight) == pytest.approx(nll, rel=1e-4)


def test_rows_of_zeros_have_no_weight(task, variables):
    batch = {name: np.zeros(spec.shape, spec.dtype) for name, spec in task.batch_spec.items()}
    (loss, aux), gradients = jax.jit(jax.value_and_grad(task.loss, has_aux=True))(variables, batch, jax.random.key(0))
    assert (float(loss), float(aux.weight)) == (0.0, 0.0)
    assert all(bool((g == 0).all()) for g in jax.tree.leaves(gradients))


def test_targets_shift_within_their_segments():
    targets, ids = jnp.array([[5, 6, 9, 7, 9, 0, 0]]), jnp.array([[1, 1, 1, 2, 2, 0, 0]])
    assert shift_right(targets, ids, 3).tolist() == [[3, 5, 6, 3, 7, 3, 0]]


def test_the_first_token_is_the_tokenizers_bos(task):
    assert task.model_config.start_id == ByteTokenizer().bos_id
    assert build(model={"start_id": 4}).model_config.start_id == 4


WISHES = [
    {"prompt": "two dogs run", "temperature": 0.0, "max_new_tokens": 9},
    {"prompt": "a", "num_samples": 3, "max_new_tokens": 12, "log_probs": True},
    {"prompt": "trees, and more trees", "num_beams": 3, "num_samples": 2, "max_new_tokens": 10},
    {"prompt": "dog", "temperature": 0.0, "ignore_eos": True, "repetition_penalty": 1.5},
]


@pytest.mark.parametrize("task", [{}], ids=["t5"], indirect=True)
def test_each_request_alone_is_answered_as_among_others(task, variables):
    sampler = Sampler(task)
    together = sampler(variables, [Seq2SeqRequest(**wish) for wish in WISHES])
    alone = [artifact for wish in WISHES for artifact in sampler(variables, [Seq2SeqRequest(**wish)])]
    assert [a.metadata["source"] for a in together] == ["two dogs run"] + ["a"] * 3 + ["trees, and more trees"] * 2 + ["dog"]
    assert [a.value for a in together] == [a.value for a in alone]
    assert together[-1].metadata["num_tokens"] == 20 and together[-1].metadata["finish_reason"] == "length"
    assert len({a.value for a in together[1:4]}) > 1


def test_greedy_answers_are_what_the_whole_network_finds_likeliest(task, variables):
    """No cache: the argmax of the last position, again and again. What comes behind it, zeros here, it does not see."""
    (answer,) = Sampler(task)(variables, [Seq2SeqRequest(prompt="a dog", temperature=0.0, max_new_tokens=8, log_probs=True)])
    source = np.array([[*b"a dog", 256]], np.int32)
    tokens, log_prob, apply = [task.model_config.start_id], 0.0, jax.jit(task.model.apply)
    for count in range(8):
        logits = apply(variables["seq2seq"], source, np.array([tokens + [0] * (7 - count)], np.int32))[0, count]
        tokens.append(int(logits.argmax()))
        log_prob += float(jax.nn.log_softmax(logits)[tokens[-1]])
        if tokens[-1] == 256:
            break
    assert answer.metadata["tokens"] == [t for t in tokens[1:] if t != 256]
    assert answer.metadata["log_prob"] == pytest.approx(log_prob, rel=1e-4)


def test_what_each_token_of_an_answer_sees_of_the_source(task, variables):
    request = Seq2SeqRequest(prompt="a dog", temperature=0.0, max_new_tokens=4, ignore_eos=True)
    cross, *rest = task.attention(variables, request)
    assert "cross" in cross.title and len(rest) == 2
    assert cross.keys == (*"a dog", "[eos]") and len(cross.queries) == 4
    assert cross.weights.shape == (2, 2, 4, 6)
    np.testing.assert_allclose(cross.weights.sum(-1), 1, rtol=1e-5)
    (answer,) = Sampler(task)(variables, [dataclasses.replace(request, log_probs=True)])
    read = [task.model_config.start_id, *answer.metadata["tokens"][:3]]
    assert cross.queries == token_labels(task.info.tokenizer, read)


@pytest.mark.parametrize("task", [{}], ids=["t5"], indirect=True)
def test_a_stream_adds_up_to_the_whole_without_the_space_in_front(task, variables):
    request = Seq2SeqRequest(prompt="two dogs", max_new_tokens=20, temperature=1.5, ignore_eos=True)
    sampler = Sampler(task)
    for seed in range(3):
        pieces = list(sampler.stream(variables, request, seed=seed))
        (whole,) = sampler(variables, [request], seed=seed)
        assert len(pieces) > 2 and "".join(piece.value for piece in pieces) == whole.value


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"prompt": " "}, "the source is empty"),
        ({"prompt": "x" * 24}, "the source has a length of 25, but the model reads at most 24"),
        ({"prompt": "x", "max_new_tokens": 21}, "set max_new_tokens to at most 20"),
        ({"prompt": "x", "num_beams": 2, "top_k": 3}, "beam search does not sample"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(task, wish, message):
    with pytest.raises(RequestError, match=message):
        task.prepare([Seq2SeqRequest(**wish)])


def test_what_cannot_be_built_is_a_sentence():
    with pytest.raises(ConfigError, match="vocab_size 100 is smaller than the tokenizer's 257"):
        build(model={"vocab_size": 100})
    with pytest.raises(ConfigError, match="did you mean 't5_small'"):
        build(model={"size": "t5_smal"})
    with pytest.raises(ConfigError, match="label_smoothing is 1"):
        build({"label_smoothing": 1.0})
    with pytest.raises(ConfigError, match="set data.name to 'line_pairs'"):
        tasks.build({"name": "seq2seq", "model": MODEL}, data.describe({"name": "text"}, ByteTokenizer()))


def test_a_t5s_own_tokenizer_is_read_and_the_space_before_its_words_is_left_out(tmp_path):
    lines = iter(["two dogs run far", "a dog ran over the snow", "the trees are green and far"] * 20)
    with open(tmp_path / "spiece.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines, model_writer=file, vocab_size=26, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2
        )
    assert data.has_tokenizer(tmp_path)
    tokenizer = data.load_tokenizer(tmp_path)
    info = data.describe({"name": "line_pairs", "source_length": 24, "target_length": 20}, tokenizer)
    task = tasks.build({"name": "seq2seq", "model": MODEL}, info)
    assert (tokenizer.eos_id, task.model_config.start_id) == (1, 0)
    (batch,) = task.prepare([Seq2SeqRequest(prompt="two dogs", temperature=0.0)])
    written = np.array([tokenizer.encode("the dog").tolist()])
    assert tokenizer.decode_bytes(written[0]).startswith(b" ")
    length = written.shape[1]
    made = {"output": written, "num_tokens": np.array([length]), "ended": np.array([False]), "log_probs": np.zeros((1, length))}
    (answer,) = task.present([Seq2SeqRequest(prompt="two dogs")], [made | {name: batch[name] for name in ("owner", "sample")}])
    assert answer.value == "the dog"


def test_an_export_opens_as_weights_that_answer_alike(tmp_path):
    """A T5 whose layers are scanned, with its tokenizer; floats of the file keep every bit."""
    task = build(model={"scan_layers": True})
    variables = jax.tree.map(lambda x: 3 * x, nn.unbox(jax.jit(task.init)(jax.random.key(0))))
    task.export(tmp_path / "t5", variables)
    opened, loaded = tasks.open_weights(tmp_path / "t5")
    request = Seq2SeqRequest(prompt="two dogs", temperature=0.0, max_new_tokens=12)
    ours, theirs = (Sampler(t)(v, [request])[0] for t, v in ((task, variables), (opened, loaded)))
    assert ours.metadata["num_tokens"] and ours.value == theirs.value
    assert opened.model_config.start_id == 256
    assert math.isfinite(task.flops_per_step)
