"""Files of taming-transformers' VQGAN, latent diffusion's autoencoders and OpenAI's discrete VAE, which have no config."""

import re

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file
from torch import nn

from genjax.errors import CheckpointError
from genjax.interop import public_files
from genjax.models.autoencoder import Autoencoder
from genjax.models.openai_dvae import DVAE, DVAEConfig, forward_flops, within_margin
from genjax.quantization.gumbel import GumbelConfig
from tests.parity.test_autoencoder import TOLERANCE, VQModel, build, first, images, last


def taming_names(state, levels):
    """diffusers' names and shapes as they were before diffusers converted them."""
    found = {}
    for key, value in state.items():
        key = re.sub(
            r"(down|up)_blocks\.(\d+)", lambda m: f"{m[1]}.{int(m[2]) if m[1] == 'down' else levels - 1 - int(m[2])}", key
        )
        key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
        key = (
            key.replace("mid_block.attentions.0", "mid.attn_1").replace(".resnets.", ".block.").replace(".attentions.", ".attn.")
        )
        key = (
            key.replace("samplers.0.conv", "sample.conv")
            .replace("conv_shortcut", "nin_shortcut")
            .replace("conv_norm_out", "norm_out")
        )
        if ".attn" in key:
            for new, old in (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
                key = key.replace(f".{new}.", f".{old}.")
            value = value[:, :, None, None] if value.ndim == 2 else value
        found[key] = value.contiguous()
    return found


@pytest.mark.parametrize("name", ["vq", "vq with attention", "kl"])
@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_files_of_taming_transformers(name, prefix, tmp_path):
    model, config, _ = build(name)
    tensors = taming_names(model.state_dict(), len(config.widths))
    rest = {"model.diffusion_model.out.2.bias": torch.zeros(4)} if prefix else {"loss.discriminator.main.0.bias": torch.zeros(4)}
    save_file({f"{prefix}{key}": value for key, value in tensors.items()} | rest, tmp_path / "model.safetensors")
    found, variables = public_files.load("vqgan", tmp_path / "model.safetensors", groups=config.groups)
    x = images(config)
    made, quantized = Autoencoder(found).apply(variables, x)
    with torch.no_grad():
        if isinstance(model, VQModel):
            latents = model.encode(first(x)).latents
            expected, codes = model.decode(latents).sample, model.quantize(latents)[2][2]
            np.testing.assert_array_equal(quantized.codes.reshape(-1), codes)
        else:
            expected = model(first(x)).sample
    np.testing.assert_allclose(made, last(expected), atol=TOLERANCE)
    public_files.save("vqgan", found, variables, tmp_path / "ours")
    written = load_file(tmp_path / "ours" / "model.safetensors")
    assert written.keys() == tensors.keys()
    for key, value in tensors.items():
        np.testing.assert_array_equal(written[key], value)


def test_another_file_is_named(tmp_path):
    save_file({"weight": torch.zeros(3, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="by which a autoencoder of taming"):
        public_files.load("vqgan", tmp_path)


class Conv(nn.Module):
    def __init__(self, before, after, size):
        super().__init__()
        self.w = nn.Parameter(torch.randn(after, before, size, size) / (before * size**2) ** 0.5)
        self.b = nn.Parameter(0.3 * torch.randn(after))

    def forward(self, x):
        return nn.functional.conv2d(x, self.w, self.b, padding=(self.w.shape[-1] - 1) // 2)


class Block(nn.Module):
    def __init__(self, before, after, sizes, layers):
        super().__init__()
        widths = [before, *[after // 4] * 3, after]
        self.res_path = nn.Sequential()
        for i, size in enumerate(sizes):
            self.res_path.add_module(f"relu_{i + 1}", nn.ReLU())
            self.res_path.add_module(f"conv_{i + 1}", Conv(widths[i], widths[i + 1], size))
        self.id_path = Conv(before, after, 1) if before != after else nn.Identity()
        self.layers = layers

    def forward(self, x):
        return self.id_path(x) + self.res_path(x) / self.layers**2


class Half(nn.Module):
    """The encoder (halved between groups) or the decoder (doubled)."""

    def __init__(self, sizes, change, first, widths, blocks, out):
        super().__init__()
        self.blocks = nn.Sequential()
        self.blocks.add_module("input", first)
        before = first.w.shape[0]
        for group, width in enumerate(widths):
            members = nn.Sequential()
            for number in range(blocks):
                members.add_module(f"block_{number + 1}", Block(before, width, sizes, len(widths) * blocks))
                before = width
            if group < len(widths) - 1:
                members.add_module("change", change)
            self.blocks.add_module(f"group_{group + 1}", members)
        self.blocks.add_module("output", nn.Sequential())
        self.blocks.output.add_module("relu", nn.ReLU())
        self.blocks.output.add_module("conv", Conv(before, out, 1))

    def forward(self, x):
        return self.blocks(x)


@pytest.mark.parametrize("together", [True, False])
def test_the_discrete_vae_of_openai(together, tmp_path):
    torch.manual_seed(0)
    codes, width, hidden, channels = 40, 6, 8, 3
    encoder = Half((3, 3, 3, 1), nn.MaxPool2d(2), Conv(channels, hidden, 7), [hidden, 2 * hidden, 4 * hidden], 2, codes)
    decoder = Half(
        (1, 3, 3, 3), nn.Upsample(scale_factor=2), Conv(codes, width, 1), [4 * hidden, 2 * hidden, hidden], 2, 2 * channels
    )
    states = {"encoder": encoder.state_dict(), "decoder": decoder.state_dict()}
    if together:
        both = {f"{half}.{key}": value for half, state in states.items() for key, value in state.items()}
        save_file(both, tmp_path / "model.safetensors")
    else:
        for half, state in states.items():
            save_file(state, tmp_path / f"{half}.safetensors")
    config, variables = public_files.load("openai_dvae", tmp_path)
    assert config == DVAEConfig(GumbelConfig(codes, width), channels, hidden, 3, 2)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 16, 24, channels)).astype(np.float32)
    made, quantized = DVAE(config).apply(variables, x)
    with torch.no_grad():
        logits = encoder(first((1 - 2 * 0.1) * (x + 1) / 2 + 0.1))  # the published code's map_pixels
        expected = logits.argmax(1)
        reference = decoder(nn.functional.one_hot(expected, codes).movedim(-1, 1).float())
    np.testing.assert_allclose(DVAE(config).apply(variables, x, method="features"), last(logits), atol=TOLERANCE)
    np.testing.assert_array_equal(quantized.codes, expected)
    np.testing.assert_allclose(made, last(reference), atol=TOLERANCE)
    again = DVAE(config).apply(variables, quantized.codes, method="decode_codes")
    np.testing.assert_allclose(again, made, atol=1e-5)
    public_files.save("openai_dvae", config, variables, tmp_path / "ours")
    written = load_file(tmp_path / "ours" / "model.safetensors")
    for half, state in states.items():
        for key, value in state.items():
            np.testing.assert_array_equal(written[f"{half}.{key}"], value)


def test_the_published_one():
    """Its code says 8 and 128 and 256; the parameters of both halves are counted by hand."""
    config = DVAEConfig()
    shapes = jax.eval_shape(DVAE(config).init, jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    widths, total = (256, 512, 1024, 2048), 0
    convolution = lambda before, after, size: before * after * size**2 + after  # noqa: E731
    for order, sizes, before in ((widths, (3, 3, 3, 1), 256), (widths[::-1], (1, 3, 3, 3), 128)):
        for width in order:
            for _ in range(2):
                inner = [before, *[width // 4] * 3, width]
                total += sum(convolution(*inner[i : i + 2], size) for i, size in enumerate(sizes))
                total += convolution(before, width, 1) if before != width else 0
                before = width
    total += convolution(3, 256, 7) + convolution(2048, 8192, 1) + convolution(8192, 128, 1) + convolution(256, 6, 1)
    assert count(shapes["params"]) == total == 97_616_006
    assert within_margin(np.float32(-1)) == pytest.approx(0.1) and within_margin(np.float32(1)) == pytest.approx(0.9)


def test_flops_are_those_of_the_kernels():
    """Each kernel is met once for every place of its group."""
    config = DVAEConfig(GumbelConfig(40, 6), 3, 8, 3, 2)
    params = jax.eval_shape(DVAE(config).init, jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32))["params"]
    total = 0
    for half, last_group in (("encoder", 0), ("decoder", 2)):
        for name, block in params[half].items():
            kernels = jax.tree_util.tree_leaves_with_path(block)
            size = sum(leaf.size for path, leaf in kernels if leaf.ndim == 4)
            if name.startswith("group_"):
                level = abs(last_group - int(name[6]))
            else:
                level = {"encoder/conv_in": 0, "encoder/conv_out": 2, "decoder/conv_out": 0}.get(f"{half}/{name}", 0)
            total += size * 16 * 16 // 4**level
    assert forward_flops(config, 16, 16) == 2 * total
