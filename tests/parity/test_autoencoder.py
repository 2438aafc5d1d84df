"""Autoencoders against diffusers' VQModel and AutoencoderKL: random weights, several configurations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, VQModel
from flax.traverse_util import unflatten_dict
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from genjax.errors import CheckpointError
from genjax.interop import autoencoder, huggingface, lazy, names
from genjax.models.autoencoder import Autoencoder, forward_flops
from tests.parity.towers import assert_same_bits, gradient_errors

TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3  # outputs of order 1; gradients relative to the largest of a leaf
TWO = dict(
    down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, block_out_channels=(16, 32),
    norm_num_groups=8,
)  # fmt: skip
CONFIGS = {
    "vq": (VQModel, TWO | dict(num_vq_embeddings=37, vq_embed_dim=5, latent_channels=6)),
    "vq with attention": (
        VQModel,
        dict(
            down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D", "DownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
            block_out_channels=(8, 16, 24),
            layers_per_block=2,
            norm_num_groups=4,
            in_channels=1,
            out_channels=2,
            mid_block_add_attention=False,
            num_vq_embeddings=40,
        ),
    ),
    "kl": (AutoencoderKL, TWO | dict(layers_per_block=2)),
    "kl without projections": (
        AutoencoderKL,
        TWO | dict(use_quant_conv=False, use_post_quant_conv=False, latent_channels=3, scaling_factor=1.5, shift_factor=0.1),
    ),
}


def build(name):
    kind, values = CONFIGS[name]
    torch.manual_seed(0)
    model = kind(**values)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # norms and biases begin as ones and zeros
            torch.nn.init.normal_(parameter, std=0.3)
    config = huggingface.FAMILIES[kind.__name__].from_json(dict(model.config), "config.json")
    if kind is VQModel:  # codes begin near 0, and all features would have the same one
        with torch.no_grad():
            rows = model.encode(first(images(config))).latents.movedim(1, -1).flatten(0, 2)
            model.quantize.embedding.weight.copy_(rows[torch.randperm(len(rows))[: config.bottleneck.codes]])
    theirs = {key: lazy.of_array(value.numpy()) for key, value in model.state_dict().items()}
    arrays = names.to_ours(autoencoder.table(config), theirs, autoencoder.shapes(config), "the model")
    return model, config, unflatten_dict({path: jnp.asarray(array.load()) for path, array in arrays.items()}, sep="/")


def images(config):
    return np.random.default_rng(0).uniform(-1, 1, (2, 16, 24, config.channels)).astype(np.float32)


def first(x):
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def last(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


@pytest.mark.parametrize("name", CONFIGS)
def test_numbers_and_gradients(name):
    model, config, params = build(name)
    x = images(config)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        if isinstance(model, VQModel):
            latents = model.encode(first(x)).latents
            quantized, loss, (_, _, codes) = model.quantize(latents)
            made = model.decode(latents).sample
        else:
            quantized = model.encode(first(x)).latent_dist.mode()
            made, codes, loss = model.decode(quantized).sample, None, 0.0
    ((made**2).mean() + loss).backward()
    assert len(x) * forward_flops(config, 16, 24) == counter.get_total_flops()

    def objective(params):
        made, found = Autoencoder(config).apply({"params": params}, x)
        # diffusers weighs the other one of both than the paper.
        extra = found.losses["commitment"] + 0.25 * found.losses["codebook"] if codes is not None else 0.0
        return (made**2).mean() + extra, (made, found)

    (_, (ours, found)), gradients = jax.jit(jax.value_and_grad(objective, has_aux=True))(params)
    assert np.abs(np.asarray(ours) - last(made)).max() < TOLERANCE
    assert np.abs(np.asarray(found.values) - last(quantized)).max() < TOLERANCE
    if codes is not None:
        np.testing.assert_array_equal(found.codes.reshape(-1), codes)
        assert len(np.unique(codes)) > 10
        again = Autoencoder(config).apply({"params": params}, found.codes, method="decode_codes")
        np.testing.assert_allclose(again, ours, atol=1e-5)
    errors = gradient_errors(model, gradients, config)
    assert max(errors.values()) < GRADIENT_TOLERANCE, max(errors, key=errors.get)


@pytest.mark.parametrize("name", CONFIGS)
def test_folders_both_ways(name, tmp_path):
    """Written by diffusers, read, written, read by diffusers: the same bits, so the same numbers."""
    model, config, params = build(name)
    model.save_pretrained(tmp_path / "theirs")
    assert huggingface.read_config(tmp_path / "theirs") == (type(model).__name__, config)
    found = huggingface.load(tmp_path / "theirs")
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), found, params))
    huggingface.save(tmp_path / "ours", found, config)
    assert_same_bits(model, tmp_path / "ours")
    again = type(model).from_pretrained(tmp_path / "ours")
    with torch.no_grad():
        made = [one(first(images(config))).sample for one in (model, again)]
    assert torch.allclose(*made, rtol=0, atol=TOLERANCE)


def test_the_names_of_old_attention(tmp_path):
    from safetensors.numpy import load_file, save_file

    model, config, params = build("kl")
    model.save_pretrained(tmp_path / "old")
    file = tmp_path / "old" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        tensors = {key.replace(f".{new}.", f".{old}."): value for key, value in tensors.items()}
    save_file(tensors, file)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), huggingface.load(tmp_path / "old"), params))


def test_what_is_not_supported_is_named():
    with pytest.raises(CheckpointError, match="norm_type is 'spatial'"):
        autoencoder.vector_from_json({"norm_type": "spatial"}, "config.json")
    with pytest.raises(CheckpointError, match="down_block_types has SkipDownBlock2D"):
        autoencoder.gaussian_from_json({"down_block_types": ["SkipDownBlock2D"]}, "config.json")
