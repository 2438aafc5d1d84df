"""Our Whisper computes what transformers' does: logits, gradients, features of sounds, in float32; folders go both ways bit for
bit."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from genjax.data.log_mel import LogMel
from genjax.errors import CheckpointError
from genjax.interop import huggingface
from genjax.models.whisper import Whisper
from tests.parity import encoder_decoders
from tests.parity.encoder_decoders import FRAMES, PAD

CASES = encoder_decoders.WHISPER_CASES
LOGIT_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3
BATCH, TARGET = 3, 17


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """case -> (torch model, our config, folder)."""

    @functools.cache
    def get(case):
        folder = tmp_path_factory.mktemp(case)
        model = encoder_decoders.build(case)
        model.save_pretrained(folder)
        return model, huggingface.read_config(folder)[1], folder

    return get


def draw(model, seed=0):
    """(features [batch frames mels], tokens without the one whose embedding torch gives no gradient)."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(BATCH, FRAMES, model.config.num_mel_bins)).astype(np.float32)
    tokens = rng.integers(0, model.config.vocab_size, (BATCH, TARGET)).astype(np.int32)
    return features, np.where(tokens == PAD, PAD + 1, tokens)


def torch_logits(model, features, tokens):
    inputs = torch.tensor(features).transpose(1, 2)
    return model(input_features=inputs, decoder_input_ids=torch.tensor(tokens, dtype=torch.long)).logits


@pytest.mark.parametrize("case", CASES)
def test_logits_and_gradients(loaded, case):
    """Gradients of a weighted mean of log-probabilities for every parameter but the positions that are never trained."""
    model, config, folder = loaded(case)
    features, tokens = draw(model)
    weights = np.random.default_rng(2).uniform(size=(BATCH, TARGET - 1)).astype(np.float32)
    model.zero_grad()
    expected = torch_logits(model, features, tokens)
    log_p = torch.log_softmax(expected[:, :-1], -1).gather(-1, torch.tensor(tokens[:, 1:, None], dtype=torch.long))[..., 0]
    (-(log_p * torch.tensor(weights)).sum() / weights.sum()).backward()
    model.model.encoder.embed_positions.weight.grad = None

    def loss(params):
        logits = Whisper(config).apply({"params": params}, features, tokens)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), tokens[:, 1:, None], axis=-1)[..., 0]
        return -jnp.sum(log_p * weights) / weights.sum(), logits

    gradients, logits = jax.jit(jax.grad(loss, has_aux=True))(huggingface.load(folder))
    assert expected.abs().max() > 1
    assert np.abs(np.asarray(logits) - expected.detach().numpy()).max() < LOGIT_TOLERANCE
    encoder_decoders.compare_gradients(model, config, gradients, GRADIENT_TOLERANCE)


@pytest.mark.parametrize("scan_layers", [False, True], ids=["unrolled", "scanned"])
def test_import_and_export_keep_every_bit(loaded, tmp_path, scan_layers):
    model, config, folder = loaded("whisper-a")
    params = huggingface.load(folder, scan_layers=scan_layers)
    huggingface.save(tmp_path / "out", params, config)
    assert huggingface.read_config(tmp_path / "out")[1] == config
    again, report = type(model).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def test_a_bare_model_has_no_prefix(loaded, tmp_path):
    model, _, folder = loaded("whisper-b")
    model.model.save_pretrained(tmp_path)
    ours, bare = huggingface.load(folder), huggingface.load(tmp_path)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), ours, bare))


def test_a_config_that_cannot_be_honoured_is_named(loaded, tmp_path):
    values = json.loads((loaded("whisper-a")[2] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"decoder_ffn_dim": 7, "scale_embedding": True}))
    with pytest.raises(CheckpointError, match=r"(?s)scale_embedding is True.*decoder_ffn_dim is 7"):
        huggingface.read_config(tmp_path)


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("samples", [16000, 4801, 48123])
def test_features_of_sounds(mels, samples):
    """Alone, and in 30 seconds of silence as the published models hear it."""
    rng = np.random.default_rng(samples)
    sound = (np.sin(np.arange(samples) * rng.uniform(0.01, 1)) * 0.3 + 0.02 * rng.normal(size=samples)).astype(np.float32)
    reference = transformers.WhisperFeatureExtractor(feature_size=mels)
    ours = LogMel(16000, mels)
    for padding, own in (("do_not_pad", sound), ("max_length", np.pad(sound, (0, 480000 - samples)))):
        expected = reference(sound, sampling_rate=16000, padding=padding, return_tensors="np")["input_features"][0].T
        found = ours(own)
        assert found.shape == expected.shape and found.dtype == np.float32
        assert np.abs(found - expected).max() < 1e-4
