"""Speech behind the contract: padding counts for nothing, and sounds are answered from files."""

import flax.linen as nn
import jax
import numpy as np
import pytest
import transformers

from genjax import data, tasks
from genjax.data.tokenizers.character import CharacterTokenizer
from genjax.errors import ConfigError, RequestError
from genjax.sampling import Sampler
from genjax.tasks.speech import SpeechRequest
from tests.data.test_speech import RATE, section, tone, wav

MODEL = {"num_layers": 2, "num_heads": 2, "embed_dim": 32}
TOKENIZER = CharacterTokenizer("abcdefgh", add_eos=True)


def build(model=None, task=None, **changes):
    info = data.describe(section("x", **changes), TOKENIZER)
    return tasks.build({"name": "speech", "model": MODEL | (model or {})} | (task or {}), info)


@pytest.fixture(scope="module")
def task():
    return build()


@pytest.fixture(scope="module")
def variables(task):
    return jax.tree.map(lambda x: 4 * x, nn.unbox(jax.jit(task.init)(jax.random.key(0))))


def test_padding_of_sounds_and_texts_counts_for_nothing(task, variables):
    rng = np.random.default_rng(0)
    lengths, sizes = np.array([60, 31, 8, 0]), np.array([6, 3, 1, 0])
    batch = {
        "features": rng.normal(size=(4, 60, 20)).astype(np.float32),
        "feature_mask": (np.arange(60) < lengths[:, None]).astype(np.int32),
        "targets": rng.integers(0, 9, (4, 6)).astype(np.int32),
        "target_segment_ids": (np.arange(6) < sizes[:, None]).astype(np.int32),
    }
    assert {name: x.shape for name, x in batch.items()} == {name: spec.shape for name, spec in task.batch_spec.items()}
    sums, apply = jax.jit(task.evaluate)(variables, batch, jax.random.key(0)), jax.jit(task.model.apply)
    total = 0.0
    for row in range(3):
        features, targets = batch["features"][row, : lengths[row]], batch["targets"][row, : sizes[row]]
        tokens = np.array([[task.model_config.start_id, *targets[:-1]]], np.int32)
        logits = apply(variables["seq2seq"], features[None], tokens)[0]
        total -= float(np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), targets[:, None], -1).sum())
    assert float(sums["loss"][1]) == sizes.sum()
    assert float(sums["loss"][0]) == pytest.approx(total, rel=1e-4)


def test_sounds_are_answered_alone_as_among_others(task, variables, tmp_path):
    paths = []
    for number, seconds in enumerate((0.1, 0.31, 0.59)):
        paths.append(str(tmp_path / f"{number}.wav"))
        (tmp_path / f"{number}.wav").write_bytes(wav(tone(200 + 300 * number, seconds), RATE))
    sampler = Sampler(task)
    requests = [SpeechRequest(sound=path, temperature=0.0) for path in paths]
    together = sampler(variables, requests)
    assert [a.metadata["sound"] for a in together] == paths
    assert [a.value for a in together] == [sampler(variables, [request])[0].value for request in requests]
    assert max(a.metadata["num_tokens"] for a in together) <= 6
    (tmp_path / "long.wav").write_bytes(wav(tone(200, 0.7), RATE))
    with pytest.raises(RequestError, match=r"is 0.7 s long, but the model hears 0.6 s"):
        task.prepare([SpeechRequest(sound=str(tmp_path / "long.wav"))])
    with pytest.raises(RequestError, match="give a WAV file with --sound"):
        task.prepare([SpeechRequest()])


def test_what_each_token_hears(task, variables, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(tone(300, 0.31), RATE))
    request = SpeechRequest(sound=str(tmp_path / "a.wav"), temperature=0.0, ignore_eos=True)
    cross, *rest = task.attention(variables, request)
    assert "cross" in cross.title and len(rest) == 2
    assert cross.weights.shape[2] == len(cross.queries) == 6 and cross.weights.shape[3] in (15, 16) and cross.keys == ()
    np.testing.assert_allclose(cross.weights.sum(-1), 1, rtol=1e-5)


def test_what_cannot_be_built_is_a_sentence():
    with pytest.raises(ConfigError, match="data.num_mels is 20, but config.task.model.num_mels 30"):
        build({"num_mels": 30})
    with pytest.raises(ConfigError, match="max_frames 60 and data.target_length 6 are more than the model's 20 and 6"):
        build({"source_length": 10})


def test_an_export_opens_as_weights(task, variables, tmp_path):
    task.export(tmp_path / "whisper", variables)
    opened, loaded = tasks.open_weights(tmp_path / "whisper")
    assert (opened.model_config, opened.info.silence, opened.info.max_frames) == (task.model_config, True, 60)
    assert jax.tree.all(
        jax.tree.map(lambda a, b: bool((a == b).all()), variables["seq2seq"]["params"], loaded["seq2seq"]["params"])
    )


def test_suppressed_tokens_are_not_written(task, variables, tmp_path):
    """As the whole network finds likeliest among the others; and transformers finds the lists in an export."""
    (tmp_path / "a.wav").write_bytes(wav(tone(300, 0.31), RATE))
    request = SpeechRequest(sound=str(tmp_path / "a.wav"), temperature=0.0, log_probs=True, ignore_eos=True)
    (free,) = Sampler(task)(variables, [request])
    first, *later = free.metadata["tokens"]
    never = (later[1], 3)
    held = build(task={"suppress_tokens": never, "begin_suppress_tokens": (first,)})
    (answer,) = Sampler(held)(variables, [request])
    features, tokens, apply = held._source(request)[None], [held.model_config.start_id], jax.jit(held.model.apply)
    count = len(answer.metadata["tokens"])
    for number in range(count):
        logits = np.array(apply(variables["seq2seq"], features, np.array([tokens + [0] * (count - 1 - number)]))[0, number])
        logits[list(never) + [first] * (number == 0)] = -np.inf
        tokens.append(int(logits.argmax()))
    assert answer.metadata["tokens"] == tokens[1:] and tokens[1] != first and not set(tokens[1:]) & set(never)
    assert answer.metadata["tokens"] != free.metadata["tokens"]
    held.export(tmp_path / "whisper", variables)
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path / "whisper")
    assert (tuple(theirs.suppress_tokens), theirs.begin_suppress_tokens) == (never, [first])
    opened, _ = tasks.open_weights(tmp_path / "whisper")
    assert (opened.config.suppress_tokens, opened.config.begin_suppress_tokens) == (never, (first,))
