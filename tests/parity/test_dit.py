"""DiT against diffusers' DiTTransformer2DModel: random weights, several configurations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DiTTransformer2DModel
from flax.traverse_util import unflatten_dict

from genjax.errors import CheckpointError
from genjax.interop import dit, huggingface, lazy, names
from genjax.models.dit import DiT
from genjax.models.transformer import stack_blocks
from tests.parity.towers import assert_same_bits, gradient_errors

# Outputs of order 1. The issue asks for 1e-4 and, relative to the largest of a leaf, 1e-3.
TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3
PLAIN = dict(
    num_attention_heads=2, attention_head_dim=8, num_layers=2, in_channels=4, out_channels=8, sample_size=8, num_embeds_ada_norm=7
)
CONFIGS = {
    "learned variances": PLAIN,
    "other sizes": PLAIN
    | dict(num_attention_heads=3, in_channels=1, out_channels=None, patch_size=4, activation_fn="gelu", norm_eps=1e-2),
}


def build(name):
    """A model in eval mode (training, it drops classes), every block's embeddings those of the first."""
    torch.manual_seed(0)
    model = DiTTransformer2DModel(**CONFIGS[name]).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    first, *others = model.transformer_blocks
    for block in others:
        block.norm1.emb.load_state_dict(first.norm1.emb.state_dict())
    config = dit.from_json(dict(model.config), "config.json")
    theirs = {key: lazy.of_array(value.numpy()) for key, value in model.state_dict().items()}
    arrays = names.to_ours(dit.table(config), theirs, dit.shapes(config), "the model")
    return model, config, unflatten_dict({path: jnp.asarray(array.load()) for path, array in arrays.items()}, sep="/")


def draw(config, size=8):
    x = np.random.default_rng(0).standard_normal((3, size, size, config.in_channels)).astype(np.float32)
    return x, np.asarray([3, 500, 999]), np.asarray([0, 3, config.num_classes])


def run_theirs(model, x, times, classes):
    image = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    return model(image, timestep=torch.from_numpy(times), class_labels=torch.from_numpy(classes)).sample


@pytest.mark.parametrize("name", CONFIGS)
def test_numbers_and_gradients(name):
    """Blocks scanned: the stacked layout, too, is read."""
    model, config, params = build(name)
    for block in model.transformer_blocks[1:]:
        block.norm1.emb = model.transformer_blocks[0].norm1.emb
    inputs = draw(config)
    expected = run_theirs(model, *inputs)
    (expected**2).mean().backward()
    scanned = DiT(dataclasses.replace(config, scan_layers=True, remat="full"))

    def loss(params):
        found = scanned.apply({"params": params}, *inputs)
        return (found**2).mean(), found

    (_, found), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(stack_blocks(params))
    assert np.abs(np.moveaxis(np.asarray(found), -1, 1) - expected.detach().numpy()).max() < TOLERANCE
    errors = gradient_errors(model, gradients, config)
    assert max(errors.values()) < GRADIENT_TOLERANCE, max(errors, key=errors.get)


@pytest.mark.parametrize("name", CONFIGS)
def test_folders_both_ways(name, tmp_path):
    """Written by diffusers, read, written, read by diffusers: the same bits."""
    model, config, params = build(name)
    model.save_pretrained(tmp_path / "theirs")
    assert huggingface.read_config(tmp_path / "theirs") == ("DiTTransformer2DModel", config)
    found = huggingface.load(tmp_path / "theirs")
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), found, params))
    huggingface.save(tmp_path / "ours", found, config)
    assert_same_bits(model, tmp_path / "ours")
    inputs = draw(config)
    with torch.no_grad():
        assert torch.equal(
            run_theirs(model, *inputs), run_theirs(DiTTransformer2DModel.from_pretrained(tmp_path / "ours"), *inputs)
        )


def test_a_larger_sample_covers_the_same_area():
    model, config, params = build("learned variances")
    inputs = draw(config, size=12)
    with torch.no_grad():
        expected = run_theirs(model, *inputs)
    found = DiT(config).apply({"params": params}, *inputs)
    assert np.abs(np.moveaxis(np.asarray(found), -1, 1) - expected.numpy()).max() < TOLERANCE


def test_blocks_that_embed_time_each_in_its_own_way_are_refused(tmp_path):
    model, *_ = build("learned variances")
    torch.nn.init.normal_(model.transformer_blocks[1].norm1.emb.timestep_embedder.linear_2.bias)
    model.save_pretrained(tmp_path / "theirs")
    message = (
        r"transformer_blocks.1.norm1.emb.timestep_embedder.linear_2.bias differs from "
        r"transformer_blocks.0.norm1.emb.timestep_embedder.linear_2.bias, and both are conditions/time_2/bias here"
    )
    with pytest.raises(CheckpointError, match=message):
        huggingface.load(tmp_path / "theirs")


@pytest.mark.parametrize(
    "values, message",
    [
        ({"norm_type": "ada_norm_single"}, "norm_type is 'ada_norm_single'; supported: 'ada_norm_zero'"),
        ({"attention_bias": False}, "attention_bias is False; supported: True"),
        ({"norm_elementwise_affine": True}, "norm_elementwise_affine is True; supported: False"),
        ({"activation_fn": "geglu"}, "activation_fn is 'geglu'; supported: gelu-approximate, gelu"),
        ({"patch_size": 3}, "sample_size 8 does not divide into patches of 3"),
        ({"num_attention_heads": 1, "attention_head_dim": 6}, "attention_head_dim is 6; supported: multiples of 4"),
    ],
)
def test_what_is_not_supported_is_named(values, message):
    with pytest.raises(CheckpointError, match=message):
        dit.from_json(PLAIN | values, "config.json")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"frequency_shift": 0}, r"frequency_shift is 0 \(needs 1\)"),
        ({"null_class": False}, r"null_class is False \(needs True\)"),
        ({"num_classes": 0}, r"num_classes is 0 \(needs 1 or more\)"),
        ({"mlp_dim": 20}, r"mlp_dim is 20 \(needs 4 times embed_dim\)"),
    ],
)
def test_a_model_that_diffusers_cannot_express(change, message):
    config = dit.from_json(PLAIN, "config.json")
    assert huggingface.family_of(config) is dit.FAMILY
    with pytest.raises(CheckpointError, match=message):
        huggingface.family_of(dataclasses.replace(config, **change))
