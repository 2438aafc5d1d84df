"""Our CLIP computes what transformers' CLIPModel computes: embeddings, logits and gradients, in float32; files keep every bit."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from flax.traverse_util import flatten_dict

from genjax.interop import huggingface
from genjax.models.clip import CLIP, CLIPImage, CLIPText
from tests.parity.parity_models import seeded
from tests.parity.towers import EOS, assert_same_bits, draw_inputs, draw_towers, gradient_errors, moved

CASES = ("clip-0", "clip-1", "clip-2", "clip-legacy-eos")
# Cosines and logits of order 1. The issue asks for 1e-4 and, relative, 1e-3.
TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3


@functools.cache
def build(case):
    rng = np.random.default_rng(100 + CASES.index(case))
    text, image = draw_towers(rng, activations=("quick_gelu", "gelu"))
    text |= {"eos_token_id": 2 if "legacy" in case else EOS, "projection_dim": 12}
    config = transformers.CLIPConfig(text_config=text, vision_config=image | {"projection_dim": 12}, projection_dim=12)
    with seeded(CASES.index(case)):
        return moved(transformers.CLIPModel(config).eval())


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
    """Gradients of the contrastive loss for every parameter of both towers and for the scale."""
    model, config, folder = saved(case)
    images, tokens, mask = draw_inputs(config)
    model.zero_grad()
    expected = model(torch.tensor(tokens, dtype=torch.long), torch.tensor(images.transpose(0, 3, 1, 2)), return_loss=True)
    expected.loss.backward()

    def loss(params):
        found = CLIP(config).apply({"params": params}, images, tokens)
        rows, columns = jax.nn.log_softmax(found.logits(), 1), jax.nn.log_softmax(found.logits(), 0)
        return -(jnp.trace(rows) + jnp.trace(columns)) / (2 * len(images)), found

    gradients, found = jax.jit(jax.grad(loss, has_aux=True))(huggingface.load(folder))
    assert np.abs(found.images - expected.image_embeds.detach().numpy()).max() < TOLERANCE
    assert np.abs(found.texts - expected.text_embeds.detach().numpy()).max() < TOLERANCE
    assert np.abs(found.logits() - expected.logits_per_image.detach().numpy()).max() < TOLERANCE
    errors = gradient_errors(model, gradients, config)
    assert max(errors.values()) < GRADIENT_TOLERANCE, max(errors, key=errors.get)


@pytest.mark.parametrize("case", ["clip-0", "clip-legacy-eos"])
def test_padding_never_leaks(saved, case):
    """Behind the end of the text padding may be any token below it, and be masked or not."""
    _, config, folder = saved(case)
    _, tokens, mask = draw_inputs(config)
    apply, params = jax.jit(CLIPText(config.text).apply), huggingface.load(folder)["text"]
    texts = apply({"params": params}, tokens)
    other = np.where(mask, tokens, 3)
    for given in ((other, None), (other, mask), (np.where(mask, tokens, EOS), None)):
        assert np.abs(apply({"params": params}, *given) - texts).max() < 1e-5
    for row, length in enumerate(mask.sum(1)):
        alone = apply({"params": params}, tokens[row : row + 1, :length])
        assert np.abs(alone - texts[row]).max() < 1e-5


def test_masks_are_those_of_transformers(saved):
    model, config, folder = saved("clip-1")
    _, tokens, mask = draw_inputs(config)
    mask[:, 1] = False  # a hole that causal attention would look at
    ids = torch.tensor(tokens, dtype=torch.long)
    with torch.no_grad():
        expected = model.get_text_features(ids, attention_mask=torch.tensor(mask.astype(np.int64))).pooler_output
    found = CLIPText(config.text).apply({"params": huggingface.load(folder)["text"]}, tokens, mask)
    assert np.abs(found - expected.numpy()).max() < TOLERANCE


def test_scanned_layers_and_images_of_another_size(saved):
    model, config, folder = saved("clip-2")
    size = config.image.image_size + 2 * config.image.patch_size
    images = np.random.default_rng(5).normal(size=(2, size, size, 3)).astype(np.float32)
    with torch.no_grad():
        pixels = torch.tensor(images.transpose(0, 3, 1, 2))
        expected = model.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output.numpy()
    params = huggingface.load(folder, scan_layers=True)
    assert "blocks" in params["image"] and "blocks" in params["text"]
    scanned = dataclasses.replace(config.image, scan_layers=True)
    assert np.abs(CLIPImage(scanned).apply({"params": params["image"]}, images) - expected).max() < TOLERANCE


def test_hidden_states_that_stable_diffusion_reads(saved):
    model, config, folder = saved("clip-0")
    _, tokens, _ = draw_inputs(config)
    with torch.no_grad():
        expected = model.text_model(torch.tensor(tokens, dtype=torch.long), output_hidden_states=True)
    params = {"params": huggingface.load(folder)["text"]}
    text = CLIPText(config.text)
    last = text.apply(params, tokens, method="hidden")
    assert np.abs(last - expected.last_hidden_state.numpy()).max() < TOLERANCE
    penultimate = text.apply(params, tokens, skip=1, method="hidden")
    assert np.abs(penultimate - expected.hidden_states[-2].numpy()).max() < TOLERANCE


@pytest.mark.parametrize("scan_layers", [False, True], ids=["unrolled", "scanned"])
@pytest.mark.parametrize("case", CASES)
def test_import_and_export_keep_every_bit(saved, tmp_path, case, scan_layers):
    model, config, folder = saved(case)
    huggingface.save(tmp_path / "out", huggingface.load(folder, scan_layers=scan_layers), config)
    assert_same_bits(model, tmp_path / "out")
    again = huggingface.read_config(tmp_path / "out")[1]
    assert dataclasses.replace(again, initial_scale=config.initial_scale) == config
    assert again.initial_scale == pytest.approx(config.initial_scale)


@pytest.mark.parametrize("projected", [False, True], ids=["bare", "projected"])
def test_single_towers(saved, tmp_path, projected):
    """In the form that transformers 5 writes, and in the published one with `text_model.` before every name, which we write."""
    model, config, _ = saved("clip-0")
    images, tokens, _ = draw_inputs(config)
    suffix = "WithProjection" if projected else ""
    inputs = {"Text": torch.tensor(tokens, dtype=torch.long), "Vision": torch.tensor(images.transpose(0, 3, 1, 2))}
    for kind, module, given in (("Text", CLIPText, tokens), ("Vision", CLIPImage, images)):
        settings = model.config.text_config if kind == "Text" else model.config.vision_config
        with seeded(8):
            tower = moved(getattr(transformers, f"CLIP{kind}Model{suffix}")(settings).eval())
        folder = tmp_path / kind
        tower.save_pretrained(folder)
        family, found = huggingface.read_config(folder)
        assert family == f"clip_{kind.lower()}_model" and bool(found.projection_dim) == projected
        params = huggingface.load(folder)
        with torch.no_grad():
            expected = tower(inputs[kind])
        expected = expected[0] if projected else expected.pooler_output
        assert np.abs(module(found).apply({"params": params}, given) - expected.numpy()).max() < TOLERANCE
        huggingface.save(tmp_path / f"{kind} out", params, found)
        assert_same_bits(tower, tmp_path / f"{kind} out")
        for path, value in flatten_dict(huggingface.load(tmp_path / f"{kind} out")).items():
            np.testing.assert_array_equal(value, flatten_dict(params)[path])
