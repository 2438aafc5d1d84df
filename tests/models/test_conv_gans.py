"""Convolutional GANs: what the tests against public weights do not see. Those are in tests/parity/test_conv_gans.py."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.core import meta
from jax.extend.core import ClosedJaxpr
from torch import nn

from genjax.errors import ConfigError
from genjax.layers.conv import shuffle_pixels, unshuffle_pixels
from genjax.models import cyclegan, dcgan, esrgan, patchgan, pix2pix, srgan, vgg
from genjax.models.cyclegan import CycleGANConfig, CycleGANGenerator
from genjax.models.dcgan import DCGANConfig, DCGANDiscriminator, DCGANGenerator
from genjax.models.esrgan import ESRGANConfig, RRDBNet
from genjax.models.patchgan import PatchGAN, PatchGANConfig
from genjax.models.pix2pix import Pix2PixConfig, Pix2PixGenerator
from genjax.models.srgan import SRDiscriminator, SRDiscriminatorConfig, SRResNet, SRResNetConfig
from genjax.models.vgg import VGG, VGGConfig
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.processes import global_batch
from genjax.parallel.rules import context, tree_shardings

DRAW = np.random.default_rng(0)


def drawn(*shape):
    return DRAW.uniform(-1, 1, shape).astype(np.float32)


def shaped(module, *inputs, **named):
    """The module's variables as shapes, without boxes."""
    inputs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in inputs]
    return meta.unbox(jax.eval_shape(module.init, jax.random.key(0), *inputs, **named))


def variables_of(module, *inputs):
    """Variables off their first values; kernels keep activations of order 1."""
    shapes = shaped(module, *((value.shape, value.dtype) for value in inputs))

    def draw(path, leaf):
        if len(leaf.shape) > 1:
            return (DRAW.standard_normal(leaf.shape) * (1.5 / math.prod(leaf.shape[:-1])) ** 0.5).astype(np.float32)
        around = 1 if path[-1].key in ("scale", "var") else 0
        return (around + 0.2 * DRAW.uniform(-1, 1, leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


# -- The patch of a PatchGAN


@pytest.mark.parametrize(("layers", "patch"), [(0, 1), (1, 16), (2, 34), (3, 70)])
def test_what_a_logit_sees(layers, patch):
    """The pixels at which the gradient of one logit is not 0 are a square of so many pixels, and Isola et al. name it so."""
    config = PatchGANConfig(1, 1, layers, "none")
    assert config.patch == patch
    x = drawn(1, 2 * patch + 16, 2 * patch + 16, 1)
    variables = variables_of(PatchGAN(config), x)
    middle = patchgan.sides(config, x.shape[1])[-1] // 2
    gradient = jax.jit(jax.grad(lambda x: PatchGAN(config).apply(variables, x)[0, middle, middle]))(x)[0, ..., 0]
    rows, columns = np.nonzero(gradient)
    assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == patch


def test_logits_of_a_picture():
    """30x30 of 256x256 (Isola et al., 2017, in their code)."""
    found = jax.eval_shape(
        lambda x: PatchGAN(PatchGANConfig()).init_with_output(jax.random.key(0), x)[0],
        jax.ShapeDtypeStruct((2, 256, 256, 3), "float32"),
    )
    assert found.shape == (2, 30, 30) and found.dtype == jnp.float32


# -- SRGAN, which has no public weights


def torch_conv(variables, theirs, ours):
    """A torch layer's parameters from ours, by the path of its kernel."""
    for collection, names in (("params", {"kernel": "weight", "scale": "weight", "bias": "bias", "slope": "weight"}),) + (
        ("batch_stats", {"mean": "running_mean", "var": "running_var"}),
    ):
        for name, value in variables.get(collection, {}).get(ours, {}).items():
            value = np.moveaxis(value, (-1, -2), (0, 1)) if value.ndim == 4 else value
            getattr(theirs, names[name]).data.copy_(torch.from_numpy(np.ascontiguousarray(value)))


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.inside = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.inside(x)


def conv_norm(before, after, size=3, stride=1, bias=True):
    return [nn.Conv2d(before, after, size, stride, 1, bias=bias), nn.BatchNorm2d(after)]


@pytest.mark.parametrize("train", [False, True])
def test_srresnet_is_that_of_figure_4(train):
    config = SRResNetConfig(scale=4, width=4, blocks=2)
    x = drawn(2, 5, 4, 3)
    variables = variables_of(SRResNet(config), x)
    blocks = [Residual(*conv_norm(4, 4), nn.PReLU(), *conv_norm(4, 4)) for _ in range(2)]
    body = Residual(*blocks, *conv_norm(4, 4))
    up = [layer for _ in range(2) for layer in (nn.Conv2d(4, 16, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())]
    model = nn.Sequential(nn.Conv2d(3, 4, 9, padding=4), nn.PReLU(), body, *up, nn.Conv2d(4, 3, 9, padding=4)).train(train)
    names = ["conv_first", "act_first"]
    for i in range(2):
        names += [f"block_{i}_{name}" for name in ("conv_1", "norm_1", "act", "conv_2", "norm_2")]
    names += ["conv_body", "norm_body", "conv_up_0", "act_up_0", "conv_up_1", "act_up_1", "conv_last"]
    layers = [layer for layer in model.modules() if next(iter(layer.parameters(recurse=False)), None) is not None]
    for layer, name in zip(layers, names, strict=True):
        torch_conv(variables, layer, name)
    expected = model(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()
    found, new = SRResNet(config).apply(variables, x, train=train, mutable="batch_stats")
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(new["batch_stats"]["norm_body"]["var"], body.inside[3].running_var, rtol=2e-5)


def test_the_discriminator_of_esrgan():
    """At BasicSR's layout for 128x128, here with three stages for 32x32."""
    config = SRDiscriminatorConfig(32, width=4, stages=3, stride_size=4, hidden=10)
    x = drawn(3, 32, 32, 3)
    variables = variables_of(SRDiscriminator(config), x)
    layers, names, before = [], [], 3
    for i, width in enumerate((4, 8, 16)):
        first = conv_norm(before, width, bias=not i)[: 1 if not i else 2]
        layers += [*first, nn.LeakyReLU(0.2), *conv_norm(width, width, 4, 2, False), nn.LeakyReLU(0.2)]
        names += [f"conv_{i}_0", *([f"norm_{i}_0"] if i else []), f"conv_{i}_1", f"norm_{i}_1"]
        before = width
    hidden, out = nn.Linear(256, 10), nn.Linear(10, 1)
    model = nn.Sequential(*layers, nn.Flatten(), hidden, nn.LeakyReLU(0.2), out)
    named = [layer for layer in layers if not isinstance(layer, nn.LeakyReLU)]
    for layer, name in zip(named, names, strict=True):
        torch_conv(variables, layer, name)
    params = variables["params"]
    hidden.weight.data.copy_(torch.from_numpy(params["hidden"]["kernel"].transpose(3, 2, 0, 1).reshape(10, 256)))
    out.weight.data.copy_(torch.from_numpy(params["out"]["kernel"].T))
    for layer, name in ((hidden, "hidden"), (out, "out")):
        layer.bias.data.copy_(torch.from_numpy(params[name]["bias"]))
    expected = model(torch.from_numpy(x).permute(0, 3, 1, 2))[:, 0].detach().numpy()
    found, _ = SRDiscriminator(config).apply(variables, x, train=True, mutable="batch_stats")
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_sizes_of_srgan():
    """1,549,462 parameters; SRGAN's discriminator from the shapes of figure 4."""
    count = lambda tree: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree["params"]))  # noqa: E731
    assert count(shaped(SRResNet(SRResNetConfig()), ((2, 8, 8, 3), "float32"))) == 1_549_462
    widths = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    expected = sum(9 * a * b + 2 * b for a, b in widths) - 64 + 512 * 36 * 1024 + 1024 + 1024 + 1
    assert count(shaped(SRDiscriminator(SRDiscriminatorConfig()), ((2, 96, 96, 3), "float32"))) == expected


def test_pixels_are_shuffled_as_torch_does():
    x = drawn(2, 3, 5, 18)
    expected = nn.PixelShuffle(3)(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(shuffle_pixels(x, 3), expected)
    np.testing.assert_array_equal(unshuffle_pixels(shuffle_pixels(x, 3), 3), x)


# -- Classes


def test_a_class_is_laid_beside_the_latent():
    config = DCGANConfig(8, 1, 5, 2, num_classes=3, class_features=4)
    z, classes = drawn(3, 5), np.array([2, 0, 2])
    variables = variables_of(DCGANGenerator(config), z, classes)
    plain = dataclasses.replace(config, num_classes=0, latent=9)
    rest = {**variables, "params": {key: value for key, value in variables["params"].items() if key != "classes"}}
    wide = np.concatenate([z, variables["params"]["classes"]["embedding"][classes]], axis=1)
    found = DCGANGenerator(config).apply(variables, z, classes)
    np.testing.assert_allclose(found, DCGANGenerator(plain).apply(rest, wide), atol=1e-6)
    with pytest.raises(ConfigError, match="was given no classes; it has model.num_classes 3"):
        DCGANGenerator(config).apply(variables, z)
    with pytest.raises(ConfigError, match="was given classes; it knows none"):
        DCGANGenerator(plain).apply(rest, wide, classes)


@pytest.mark.parametrize("norm", ["none", "spectral"])
def test_a_discriminator_is_told_the_class_by_a_projection(norm):
    """Miyato and Koyama, 2018, equation 3: the logit, and the product of the class's row with the last features' sum; which is
    linear in the row."""
    config = DCGANConfig(8, 1, width=3, num_classes=4, discriminator_norm=norm)
    x, classes = drawn(3, 8, 8, 1), np.array([2, 0, 3])
    network = DCGANDiscriminator(config)
    variables = variables_of(network, x, classes)
    params = variables["params"]
    table = params["classes"]["embedding"]
    changed = {**variables, "params": {**params, "classes": {"embedding": np.zeros_like(table)}}}
    plain = {key: {k: v for k, v in tree.items() if k != "classes"} for key, tree in variables.items()}
    without = DCGANDiscriminator(dataclasses.replace(config, num_classes=0)).apply(plain, x)
    if norm == "none":
        np.testing.assert_allclose(network.apply(changed, x, classes), without, atol=1e-6)
        features = jax.nn.leaky_relu(
            jax.lax.conv_general_dilated(
                x, params["conv_0"]["kernel"], (2, 2), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            + params["conv_0"]["bias"],
            0.2,
        )
        expected = without + (features.sum((1, 2)) * table[classes]).sum(-1)
        np.testing.assert_allclose(network.apply(variables, x, classes), expected, atol=1e-5)
    else:
        vectors = variables["spectral"]["classes"]["norm"]
        found = network.apply(variables, x, classes) - without
        twice = {**variables, "params": {**params, "classes": {"embedding": 2 * table}}}
        assert vectors["u"].shape == (4,) and np.abs(found).min() > 1e-3
        np.testing.assert_allclose(network.apply(twice, x, classes) - without, found, rtol=2e-3)


def test_a_discriminator_is_told_the_class_by_a_map():
    config = DCGANConfig(8, 1, width=3, num_classes=4, class_input="map", discriminator_norm="layer")
    x, classes = drawn(3, 8, 8, 1), np.array([2, 0, 3])
    variables = variables_of(DCGANDiscriminator(config), x, classes)
    pictures = variables["params"]["classes"]["embedding"][classes].reshape(3, 8, 8, 1)
    plain = {"params": {key: value for key, value in variables["params"].items() if key != "classes"}}
    other = DCGANDiscriminator(dataclasses.replace(config, num_classes=0, channels=2))
    expected = other.apply(plain, np.concatenate([x, pictures], -1))
    np.testing.assert_allclose(DCGANDiscriminator(config).apply(variables, x, classes), expected, atol=1e-6)


# -- What pix2pix does when it does not train


def test_the_noise_of_pix2pix():
    config = Pix2PixConfig(1, 1, 6, 1, test_statistics="batch")
    x = drawn(1, 64, 64, 1)
    network = Pix2PixGenerator(config)
    variables = variables_of(network, x)
    assert config.drops == (4,) and Pix2PixConfig().drops == (4, 5, 6) and Pix2PixConfig(levels=7).drops == (4, 5)
    run = jax.jit(lambda key: network.apply(variables, x, rngs={"dropout": key}))
    one, again, other = (run(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3
    with pytest.raises(ConfigError, match='was given no key: pass rngs={"dropout": key}, or set model.test_dropout'):
        network.apply(variables, x)


# -- Figures


def multiplications(jaxpr):
    """Of all products and convolutions in a program, by the shapes of what they multiply; zeros laid between places do not
    count."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            contracted = [equation.invars[0].aval.shape[i] for i in equation.params["dimension_numbers"][0][0]]
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(contracted)
        elif equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            places = math.prod(equation.outvars[0].aval.shape[:-1])
            total += places * math.prod(kernel) // math.prod(equation.params["lhs_dilation"])
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            inner = value.jaxpr if isinstance(value, ClosedJaxpr) else value
            if hasattr(inner, "eqns"):
                total += times * multiplications(inner)
    return total


FIGURES = {
    "dcgan": (DCGANGenerator, DCGANConfig(32, 2, 7, 3), [((1, 7), "float32")], dcgan.generator_flops, ()),
    "dcgan, judging": (
        *(DCGANDiscriminator, DCGANConfig(32, 2, 7, 3), [((1, 32, 32, 2), "float32")]),
        *(dcgan.discriminator_flops, ()),
    ),
    "patchgan": (PatchGAN, PatchGANConfig(2, 3), [((1, 48, 48, 2), "float32")], patchgan.forward_flops, (48,)),
    "pix2pix": (Pix2PixGenerator, Pix2PixConfig(2, 3, 5, 2), [((1, 32, 32, 2), "float32")], pix2pix.forward_flops, (32,)),
    "cyclegan": (
        *(CycleGANGenerator, CycleGANConfig(2, 3, 2, 1, 2), [((1, 8, 8, 2), "float32")]),
        *(cyclegan.forward_flops, (8,)),
    ),
    "esrgan": (RRDBNet, ESRGANConfig(2, 2, 3, 5, 2), [((1, 4, 6, 2), "float32")], esrgan.forward_flops, (4, 6)),
    "srresnet": (SRResNet, SRResNetConfig(2, 4, 3, 2), [((1, 4, 6, 2), "float32")], srgan.generator_flops, (4, 6)),
    "srgan, judging": (
        *(SRDiscriminator, SRDiscriminatorConfig(16, 2, 3, 2, 4, 5), [((1, 16, 16, 2), "float32")]),
        *(srgan.discriminator_flops, ()),
    ),
    "vgg": (VGG, VGGConfig(16, ("relu3_3",), 3), [((1, 16, 16, 3), "float32")], vgg.forward_flops, (16,)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_operations_are_those_of_the_program(name):
    kind, config, inputs, flops, sizes = FIGURES[name]
    variables = shaped(kind(config), *inputs)
    inputs = [jax.ShapeDtypeStruct(*one) for one in inputs]
    program = jax.make_jaxpr(lambda v, *x: kind(config).apply(v, *x, rngs={"dropout": jax.random.key(0)}))(variables, *inputs)
    assert flops(config, *sizes) == 2 * multiplications(program.jaxpr) > 1000


# -- Meshes and half precision


@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_outputs_and_gradients_equal_one_device(cpu_devices, name):
    """A generator with batch norms, a discriminator with spectral ones, trained over eight devices; and in half precision."""
    config = DCGANConfig(16, 2, 6, 4, discriminator_norm="spectral", num_classes=3)
    kind, moving = (DCGANGenerator, "batch_stats") if name == "generator" else (DCGANDiscriminator, "spectral")
    batch = {"x": drawn(8, 6) if name == "generator" else drawn(8, 16, 16, 2), "classes": np.arange(8) % 3}
    variables = variables_of(kind(config), batch["x"], batch["classes"])
    boxed = jax.eval_shape(lambda: kind(config).init(jax.random.key(0), *batch.values()))

    def loss(params, rest, batch, config=config):
        out, new = kind(config).apply({"params": params, **rest}, batch["x"], batch["classes"], train=True, mutable=[moving])
        return (out**2).mean(), (out, new)

    params, rest = variables["params"], {moving: variables[moving]}
    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, expected), gradients = step(params, rest, batch)
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), cpu_devices)
    with context(mesh):
        placed = jax.device_put(params, tree_shardings(boxed["params"], mesh))
        (_, found), other = step(placed, rest, global_batch(batch, mesh))
    for one, two in zip(jax.tree.leaves((expected, gradients)), jax.tree.leaves((found, other)), strict=True):
        np.testing.assert_allclose(two, one, atol=2e-5 * max(1, np.abs(one).max()))
    half = dataclasses.replace(config, dtype="bfloat16")
    out, new = jax.jit(lambda *given: loss(*given, config=half)[1])(params, rest, batch)
    assert out.dtype == jnp.float32 and {leaf.dtype for leaf in jax.tree.leaves(new)} == {jnp.dtype("float32")}
    assert 0 < np.abs(out - expected[0]).max() < 0.05 * np.abs(expected[0]).max()


# -- Configs and images that do not fit


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DCGANConfig(48), "image_size is 48; it must be a power of two, 8 or more; use 64"),
        (lambda: DCGANConfig(4), "use 8"),
        (lambda: DCGANConfig(latent=0), "model.latent is 0; it must be 1 or more"),
        (lambda: Pix2PixConfig(levels=1), "model.levels is 1; it must be 2 or more"),
        (lambda: Pix2PixConfig(dropout=1.0), "model.dropout is 1.0"),
        (lambda: PatchGANConfig(layers=-1), "model.layers is -1"),
        (lambda: ESRGANConfig(scale=3), "model.scale is 3; it must be 1, 2 or 4"),
        (lambda: SRResNetConfig(scale=3), "model.scale is 3; it must be a power of two"),
        (lambda: SRDiscriminatorConfig(100), "image_size is 100; with 4 stages it must be a multiple of 16"),
        (lambda: SRDiscriminatorConfig(stride_size=5), "stride_size is 5; it must be 3 or 4"),
        (lambda: VGGConfig(17), "vgg.depth is 17; it must be 16 or 19"),
        (lambda: VGGConfig(16, ("relu3_4",)), "'relu3_4' is not known; did you mean 'relu3_"),
        (lambda: VGGConfig(layers=()), "vgg.layers is empty"),
    ],
)
def test_configs(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (DCGANGenerator(DCGANConfig()), (1, 99), r"latents have the shape \(1, 99\); the network reads \(batch, 100\)"),
        (DCGANDiscriminator(DCGANConfig()), (1, 32, 32, 3), "images are 32x32 with 3 channels; .* 3 channels and 64x64 pixels"),
        (PatchGAN(PatchGANConfig(6)), (1, 32, 32, 3), "with 3 channels; the network reads 6 channels"),
        (PatchGAN(PatchGANConfig()), (1, 16, 16, 3), "16x16 pixels are too small for 3 layers"),
        (Pix2PixGenerator(Pix2PixConfig()), (1, 256, 128, 3), "256x128 .* sides that are multiples of 256"),
        (CycleGANGenerator(CycleGANConfig()), (1, 30, 32, 3), "30x32 .* sides that are multiples of 4"),
        (RRDBNet(ESRGANConfig(scale=2)), (1, 5, 4, 3), "sides that are multiples of 2"),
        (VGG(VGGConfig()), (1, 32, 32, 1), "VGG reads 3: repeat a grey one"),
        (VGG(VGGConfig()), (1, 4, 32, 3), "images are 4x32; conv4_3 needs 8x8 or more"),
    ],
)
def test_inputs(network, shape, message):
    with pytest.raises(ConfigError, match=message):
        shaped(network, (shape, "float32"))
