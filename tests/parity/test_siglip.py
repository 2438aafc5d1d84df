"""Our SigLIP computes what transformers' SiglipModel computes: outputs and gradients, in float32; files keep every bit."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from genjax.interop import huggingface
from genjax.models.siglip import SigLIP, SigLIPImage, SigLIPText
from tests.parity.parity_models import seeded
from tests.parity.towers import assert_same_bits, draw_inputs, draw_towers, gradient_errors, moved

CASES = ("siglip-0", "siglip-1", "siglip-2")
# Cosines and logits of order 1 to 10. The issue asks for 1e-4 and, relative, 1e-3.
TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3


@functools.cache
def build(case):
    rng = np.random.default_rng(200 + CASES.index(case))
    text, image = draw_towers(rng, activations=("gelu_pytorch_tanh", "gelu"))
    text["projection_size"] = image["hidden_size"]
    with seeded(CASES.index(case)):
        return moved(transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=image)).eval())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """case -> (torch model, our config, folder)."""

    @functools.cache
    def get(case):
        folder, model = tmp_path_factory.mktemp(case), build(case)
        model.save_pretrained(folder)
        return model, huggingface.read_config(folder)[1], folder

    return get


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients(saved, case):
    """Gradients of the sigmoid loss for every parameter of both towers, the scale and the bias."""
    model, config, folder = saved(case)
    images, tokens, _ = draw_inputs(config)
    model.zero_grad()
    expected = model(torch.tensor(tokens, dtype=torch.long), torch.tensor(images.transpose(0, 3, 1, 2)), return_loss=True)
    expected.loss.backward()

    def loss(params):
        found = SigLIP(config).apply({"params": params}, images, tokens)
        signs = 2 * jnp.eye(len(images)) - 1
        return -jax.nn.log_sigmoid(signs * found.logits()).sum() / len(images), found

    gradients, found = jax.jit(jax.grad(loss, has_aux=True))(huggingface.load(folder))
    assert np.abs(found.images - expected.image_embeds.detach().numpy()).max() < TOLERANCE
    assert np.abs(found.texts - expected.text_embeds.detach().numpy()).max() < TOLERANCE
    assert np.abs(found.logits() - expected.logits_per_image.detach().numpy()).max() < TOLERANCE
    errors = gradient_errors(model, gradients, config)
    assert max(errors.values()) < GRADIENT_TOLERANCE, max(errors, key=errors.get)


def test_masked_padding_never_leaks(saved):
    _, config, folder = saved("siglip-0")
    _, tokens, mask = draw_inputs(config)
    apply, params = jax.jit(SigLIPText(config.text).apply), huggingface.load(folder)["text"]
    texts = apply({"params": params}, tokens, mask)
    other = apply({"params": params}, np.where(mask, tokens, 3), mask)
    assert np.abs(other - texts).max() < 1e-5
    for row, length in enumerate(mask.sum(1)):
        alone = apply({"params": params}, tokens[row : row + 1, :length])
        assert np.abs(alone - texts[row]).max() < 1e-5


def test_scanned_layers_and_images_of_another_size(saved):
    model, config, folder = saved("siglip-2")
    size = config.image.image_size + 2 * config.image.patch_size
    images = np.random.default_rng(5).normal(size=(2, size, size, 3)).astype(np.float32)
    with torch.no_grad():
        pixels = torch.tensor(images.transpose(0, 3, 1, 2))
        expected = model.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output.numpy()
    params = huggingface.load(folder, scan_layers=True)
    assert "blocks" in params["image"] and "blocks" in params["text"]
    scanned = dataclasses.replace(config.image, scan_layers=True)
    assert np.abs(SigLIPImage(scanned).apply({"params": params["image"]}, images) - expected).max() < TOLERANCE


@pytest.mark.parametrize("scan_layers", [False, True], ids=["unrolled", "scanned"])
@pytest.mark.parametrize("case", CASES)
def test_import_and_export_keep_every_bit(saved, tmp_path, case, scan_layers):
    model, config, folder = saved(case)
    huggingface.save(tmp_path / "out", huggingface.load(folder, scan_layers=scan_layers), config)
    assert_same_bits(model, tmp_path / "out")
    assert huggingface.read_config(tmp_path / "out")[1] == config
