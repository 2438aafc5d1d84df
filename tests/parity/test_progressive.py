"""Progressive growing against its formulas in torch and float64, at every stage, and its published sizes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax.core import meta
from flax.traverse_util import flatten_dict, unflatten_dict
from torch.utils.flop_counter import FlopCounterMode

from genjax.errors import ConfigError
from genjax.models.progressive import (
    ProgressiveConfig,
    ProgressiveDiscriminator,
    ProgressiveGenerator,
    discriminator_flops,
    fade_images,
    generator_flops,
)

HE = math.sqrt(2)
DRAW = np.random.default_rng(0)
TINY = ProgressiveConfig(image_size=16, latent=5, channel_base=16, channel_max=6, mbstd_group_size=2)  # 6, 4, 2 channels


def shapes_of(network, *inputs):
    variables = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    return {path: leaf.shape for path, leaf in flatten_dict(meta.unbox(variables["params"]), sep="/").items()}


def begin(network, *inputs):
    """Random parameters, as ours and as torch's by the same names."""
    arrays = {path: DRAW.standard_normal(shape, np.float32) for path, shape in shapes_of(network, *inputs).items()}
    return unflatten_dict(arrays, sep="/"), {
        path: torch.tensor(array).double().requires_grad_() for path, array in arrays.items()
    }


def conv(s, name, x, gain=HE, flip=False):
    kernel = s[f"{name}/kernel"].permute(3, 2, 0, 1)
    kernel = kernel.flip(2, 3) if flip else kernel
    y = F.conv2d(x, kernel * gain / math.sqrt(kernel[0].numel()), padding=kernel.shape[-1] // 2)
    return y + s[f"{name}/bias"][:, None, None]


def act(x):
    return F.leaky_relu(x, 0.2)


def norm(x):
    return x / torch.sqrt((x**2).mean(1, keepdim=True) + 1e-8)


def double(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def generate(s, z, stage, alpha):
    kernel = s["dense/kernel"] * (HE / 4 / math.sqrt(z.shape[1]))
    x = (norm(z) @ kernel).reshape(len(z), 4, 4, -1).permute(0, 3, 1, 2)
    x = norm(act(x + s["dense_bias"][:, None, None]))
    x = norm(act(conv(s, "conv_0", x)))
    for level in range(1, stage + 1):
        before = x
        x = norm(act(conv(s, f"conv_{level}_up", double(x), flip=True)))
        x = norm(act(conv(s, f"conv_{level}", x)))
    image = conv(s, f"to_rgb_{stage}", x, 1)
    return image if stage == 0 else (1 - alpha) * double(conv(s, f"to_rgb_{stage - 1}", before, 1)) + alpha * image


def judge(s, images, stage, alpha):
    x = act(conv(s, f"from_rgb_{stage}", images))
    for level in range(stage, 0, -1):
        x = act(conv(s, f"conv_{level}", x))
        x = act(F.avg_pool2d(conv(s, f"conv_{level}_down", x), 2))
        if level == stage:
            x = alpha * x + (1 - alpha) * act(conv(s, f"from_rgb_{level - 1}", F.avg_pool2d(images, 2)))
    groups = x.reshape(2, -1, *x.shape[1:])
    spread = torch.sqrt(groups.var(0, unbiased=False) + 1e-8).mean((1, 2, 3)).repeat(2)
    x = torch.cat([x, spread[:, None, None, None].expand(-1, 1, 4, 4)], 1)
    x = act(conv(s, "conv_0", x)).permute(0, 2, 3, 1).flatten(1)
    for name, gain in (("dense", HE), ("out", 1)):
        kernel = s[f"{name}/kernel"].flatten(0, -2)
        x = x @ kernel * (gain / math.sqrt(len(kernel))) + s[f"{name}/bias"]
        x = act(x) if name == "dense" else x
    return x[:, 0]


def last(images):
    return np.moveaxis(images, 1, -1)


@pytest.mark.parametrize("stage", [0, 2])
def test_both_networks(stage):
    """Images and scores, and gradients of scores through both; what a stage does not use has none."""
    size, alpha = 4 * 2**stage, np.float32(0.3)
    z = DRAW.standard_normal((4, 5), np.float32)
    first, makers = begin(ProgressiveGenerator(TINY), z)
    second, judges = begin(ProgressiveDiscriminator(TINY), np.zeros((4, 16, 16, 3)))

    def score(params, alpha):
        images = ProgressiveGenerator(TINY).apply({"params": params[0]}, z, stage=stage, alpha=alpha)
        scores = ProgressiveDiscriminator(TINY).apply({"params": params[1]}, images, stage=stage, alpha=alpha)
        return scores.sum(), (images, scores)

    # Alpha is traced: one program for any.
    (_, (images, scores)), gradients = jax.jit(jax.value_and_grad(score, has_aux=True))((first, second), alpha)
    expected = generate(makers, torch.tensor(z).double(), stage, 0.3)
    told = judge(judges, expected, stage, 0.3)
    told.sum().backward()
    assert images.shape == (4, size, size, 3)
    np.testing.assert_allclose(images, last(expected.detach().numpy()), atol=1e-4)
    np.testing.assert_allclose(scores, told.detach(), atol=1e-4)
    unused = set()
    for tree, tensors in zip(gradients, (makers, judges), strict=True):
        for path, gradient in flatten_dict(tree, sep="/").items():
            theirs = tensors[path].grad
            if theirs is None:
                unused.add(path.split("/")[0])
                assert not np.any(gradient)
            else:
                np.testing.assert_allclose(gradient, theirs, atol=1e-3 * theirs.abs().max().item(), err_msg=path)
    newer = {f"{name}_{level}{way}" for name, way in (("conv", ""), ("conv", "_up"), ("conv", "_down")) for level in (1, 2)}
    newer |= {f"{name}_rgb_{level}" for name in ("to", "from") for level in (1, 2)}
    assert unused == ({"to_rgb_0", "from_rgb_0"} if stage else newer)


def test_multiplications_are_counted():
    """At the places before an image is enlarged, and after it is reduced: there the joined convolutions work."""
    generator, judges = (begin(network, *given)[1] for network, *given in (
        (ProgressiveGenerator(TINY), np.zeros((4, 5))),
        (ProgressiveDiscriminator(TINY), np.zeros((4, 16, 16, 3))),
    ))  # fmt: skip
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        judge(judges, generate(generator, torch.zeros(4, 5).double(), 0, 1.0), 0, 1.0)
    assert counter.get_total_flops() == 4 * (generator_flops(TINY, 0) + discriminator_flops(TINY, 0))
    # What a stage adds, by hand: two convolutions each and another image.
    up, down = (2.0 * (9 * 6 * 4 * 16 + 9 * 4 * 4 * 64 + 3 * (4 * 64 - 6 * 16)) for _ in range(2))
    assert generator_flops(TINY, 1) - generator_flops(TINY, 0) == up
    assert discriminator_flops(TINY, 1) - discriminator_flops(TINY, 0) == down


def test_real_images_fade_as_the_network_does():
    images = DRAW.standard_normal((2, 4, 4, 3), np.float32)
    coarse = last(double(F.avg_pool2d(torch.tensor(np.moveaxis(images, -1, 1)), 2)).numpy())
    for alpha, expected in ((0.0, coarse), (0.25, 0.75 * coarse + 0.25 * images), (1.0, images)):
        np.testing.assert_allclose(fade_images(images, alpha), expected, atol=1e-6)


def test_counts_are_the_published_ones():
    """Table 2: 23.1M each, summed from its rows: 512 channels to 32x32, then halved with each resolution."""
    widths = [512, 512, 512, 512, 256, 128, 64, 32, 16]
    pairs = list(zip(widths, widths[1:], strict=False))
    generator = 512 * 512 * 16 + 512 + 9 * 512 * 512 + 512
    generator += sum(9 * a * b + b + 9 * b * b + b for a, b in pairs) + sum(3 * width + 3 for width in widths)
    discriminator = sum(9 * b * b + b + 9 * b * a + a for a, b in pairs) + sum(4 * width for width in widths)
    discriminator += 9 * 513 * 512 + 512 + 16 * 512 * 512 + 512 + 512 + 1
    assert (generator, discriminator) == (23_079_115, 23_087_249)
    config = ProgressiveConfig()
    given = jax.ShapeDtypeStruct((1, 512), jnp.float32), jax.ShapeDtypeStruct((1, 1024, 1024, 3), jnp.float32)
    for network, x, count in zip(
        (ProgressiveGenerator, ProgressiveDiscriminator), given, (generator, discriminator), strict=True
    ):
        assert sum(math.prod(shape) for shape in shapes_of(network(config), x).values()) == count


def test_all_stages_begin_together():
    """Whatever the stage of the first call, the variables are those of all stages."""
    z, images = jax.ShapeDtypeStruct((2, 5), "float32"), [jax.ShapeDtypeStruct((2, size, size, 3), "float32") for size in (4, 16)]
    late, early = (
        jax.eval_shape(lambda key, x, stage=stage: ProgressiveDiscriminator(TINY).init(key, x, stage=stage), jax.random.key(0), x)
        for stage, x in ((2, images[1]), (0, images[0]))
    )
    assert jax.tree.map(jnp.shape, late) == jax.tree.map(jnp.shape, early)
    early = jax.eval_shape(lambda key, z: ProgressiveGenerator(TINY).init(key, z, stage=0), jax.random.key(0), z)
    assert {f"to_rgb_{level}" for level in range(3)} < early["params"].keys()


def test_messages():
    generator, discriminator = ProgressiveGenerator(TINY), ProgressiveDiscriminator(TINY)
    key, z, images = jax.random.key(0), jnp.zeros((2, 5)), jnp.zeros((2, 8, 8, 3))
    calls = {
        "stage is 3; images of 16x16 have the stages 0 to 2": lambda: discriminator.init(key, images, stage=3),
        r"images are \(8, 8, 3\); stage 2 reads \(16, 16, 3\)": lambda: discriminator.init(key, images),
        "which knows none": lambda: generator.init(key, z, jnp.zeros(2, int)),
        r"z is \(2, 4\); it must be \(batch, 5\)": lambda: generator.init(key, z[:, 1:]),
        "image_size is 24; it must be a power of 2, and 8 or more: use 32": lambda: ProgressiveConfig(image_size=24),
        "leaves no channel at 1024x1024; use 512 or more": lambda: ProgressiveConfig(channel_base=256),
    }
    for message, call in calls.items():
        with pytest.raises(ConfigError, match=message):
            jax.eval_shape(call)
