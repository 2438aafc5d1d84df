"""StyleGAN2 against its formulas in torch and float64: numbers, first and second gradients, counts, and files both ways."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from genjax.errors import CheckpointError, ConfigError
from genjax.interop import lazy, safetensors_io, stylegan2
from genjax.layers.modulated import modulated_conv
from genjax.layers.resample import setup_filter
from genjax.models.style_config import StyleGAN2Config, discriminator_flops, generator_flops
from genjax.models.style_discriminator import StyleDiscriminator
from genjax.models.style_generator import StyleGenerator, draw_crossover, mix_styles, truncate
from genjax.models.style_sizes import STYLE_SIZES
from tests.parity import style_reference as reference

# Outputs of order 1; gradients relative to the largest of a leaf.
TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3
WIDTHS = {4: 8, 8: 8, 16: 4, 32: 2}
DRAW = np.random.default_rng(0)


def build(part, size=16, seed=0, base=None, **options):
    """Their tensors, our config and variables."""
    shapes = {"generator": reference.generator_shapes, "discriminator": reference.discriminator_shapes}[part]
    parameters, buffers = shapes(size, {res: width for res, width in WIDTHS.items() if res <= size}, **options)
    state = reference.draw(parameters | buffers, seed)
    config, tree = stylegan2.from_tensors(lazily(state), part, "the state", base)
    return state, config, jax.tree.map(lambda leaf: jnp.asarray(leaf.load()), tree)


def lazily(state):
    return {name: lazy.of_array(value.detach().numpy().astype(np.float32)) for name, value in state.items()}


def learnable(state):
    """Their parameters, asking for gradients, within the whole."""
    buffers = ("resample_filter", "noise_const", "w_avg")
    parameters = {name: value.clone().requires_grad_() for name, value in state.items() if not name.endswith(buffers)}
    return parameters, state | parameters


def assert_gradients(parameters, total, variables, gradients, part, config):
    """Ours, by the names of theirs, equal theirs."""
    found = stylegan2.to_tensors(variables | {"params": gradients}, part, config)
    expected = torch.autograd.grad(total, parameters.values())
    floor = 1e-3 * max(value.abs().max().item() for value in expected)
    for name, value in zip(parameters, expected, strict=True):
        error = np.abs(found[name].load() - value.numpy()).max() / max(value.abs().max().item(), floor)
        assert error < GRADIENT_TOLERANCE, (name, error)


def channels_last(images):
    return np.moveaxis(images.detach().numpy(), 1, -1)


def one_hot(classes, count):
    return torch.eye(count, dtype=torch.float64)[classes]


@pytest.mark.parametrize("up, demodulate, size", [(1, True, 3), (2, True, 3), (1, False, 1)])
def test_scaled_activations_equal_scaled_kernels(up, demodulate, size):
    x, weight = torch.randn(3, 4, 6, 6, dtype=torch.float64), torch.randn(5, 4, size, size, dtype=torch.float64)
    styles, taps = torch.randn(3, 4, dtype=torch.float64), setup_filter()
    expected = reference.modulated(x, weight, styles, up, demodulate, torch.tensor(np.outer(taps, taps)))
    given = [jnp.asarray(value.numpy(), jnp.float32) for value in (x.permute(0, 2, 3, 1), weight.permute(2, 3, 1, 0), styles)]
    run = jax.jit(lambda x, kernel, styles: modulated_conv(x, kernel, styles, taps, up, demodulate))
    np.testing.assert_allclose(run(*given), channels_last(expected), atol=TOLERANCE / 10)
    if demodulate:  # styles that float16 does not hold, and the same numbers
        half = run(given[0].astype(jnp.float16), given[1] * 100, given[2] * 1e4)
        assert half.dtype == jnp.float16
        np.testing.assert_allclose(half, channels_last(expected), atol=1e-2)


@pytest.mark.parametrize("kind, size, classes", [("skip", 8, 0), ("resnet", 8, 5)])
def test_generator(kind, size, classes):
    """Images with constant noise, truncated and clamped; gradients of them, and of the length of paths (section 3.2)."""
    base = StyleGAN2Config(conv_clamp=3.0)
    state, config, variables = build("generator", size, base=base, z=7, w=6, layers=3, classes=classes, kind=kind)
    assert (config.generator, config.image_size, config.latent, config.style_width) == (kind, size, 7, 6)
    assert (config.mapping_layers, config.num_classes, config.channels) == (3, classes, 3)
    z, chosen = DRAW.standard_normal((3, 7), np.float32), np.asarray([0, 4, 2]) if classes else None
    pixels = DRAW.standard_normal((3, size, size, 3), np.float32) / size
    psi, cutoff = 0.7, 2
    network = StyleGenerator(config)

    def loss(params, z, psi, cutoff):
        tree = variables | {"params": params}
        ws = network.apply(tree, z, chosen, truncation=psi, cutoff=cutoff, method="styles")
        image = lambda ws: network.apply(tree, ws, "const", method="synthesize")  # noqa: E731
        images, back = jax.vjp(image, ws)
        lengths = jnp.sqrt(jnp.square(back(pixels)[0]).sum(2).mean(1))
        return (images * pixels).sum() + jnp.square(lengths).sum(), images

    # Truncation is traced: one program for any.
    (_, found), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"], z, psi, cutoff)
    parameters, whole = learnable(state)
    with FlopCounterMode(display=False) as counter:
        w = reference.mapping(whole, torch.tensor(z).double(), one_hot(chosen, classes) if classes else None)
        ws = reference.truncate(whole, w[:, None].expand(-1, config.num_styles, -1), psi, cutoff)
        images = reference.synthesis(whole, ws, "const", kind, clamp=3.0)
    assert counter.get_total_flops() == 3 * generator_flops(config)
    assert np.abs(channels_last(images) - found).max() < TOLERANCE
    unbounded = channels_last(reference.synthesis(whole, ws, "const", kind))
    assert np.abs(unbounded - found).max() > 10 * TOLERANCE  # the bound was reached
    weighted = (images * torch.tensor(np.moveaxis(pixels, -1, 1)).double()).sum()
    (jacobian,) = torch.autograd.grad(weighted, ws, create_graph=True)
    total = weighted + (jacobian**2).sum(2).mean(1).sum()
    assert_gradients(parameters, total, variables, gradients, "generator", config)


@pytest.mark.parametrize("kind, size, classes", [("resnet", 16, 0), ("skip", 8, 5)])
def test_discriminator(kind, size, classes):
    """Logits of images, with classes too; gradients of them, and of R1's penalty, which differentiates twice."""
    base = StyleGAN2Config(conv_clamp=1.5, mbstd_group_size=2)
    state, config, variables = build(
        "discriminator", size, base=base, layers=3, classes=classes, deviations=1 + bool(classes), kind=kind
    )
    assert (config.discriminator, config.image_size, config.num_classes, config.mbstd_channels) == (
        kind,
        size,
        classes,
        1 + bool(classes),
    )
    images, chosen = DRAW.standard_normal((4, size, size, 3), np.float32), np.asarray([0, 4, 2, 2]) if classes else None
    weights = np.asarray([1.0, -2, 0.5, 3])
    network = StyleDiscriminator(config)

    def loss(params, images):
        logits, back = jax.vjp(lambda images: network.apply({"params": params}, images, chosen), images)
        return (logits * weights).sum() + jnp.square(back(jnp.ones_like(logits))[0]).sum(), logits

    (_, found), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"], images)
    parameters, whole = learnable(state)
    theirs = torch.tensor(np.moveaxis(images, -1, 1)).double().requires_grad_()
    with FlopCounterMode(display=False) as counter:
        labels = one_hot(chosen, classes) if classes else None
        logits = reference.discriminate(whole, theirs, labels, kind, 2, config.mbstd_channels, clamp=1.5)
    assert counter.get_total_flops() == 4 * discriminator_flops(config)
    assert found.shape == (4,) and np.abs(logits.detach().numpy() - found).max() < TOLERANCE
    (slopes,) = torch.autograd.grad(logits.sum(), theirs, create_graph=True)
    total = (logits * torch.tensor(weights)).sum() + (slopes**2).sum()
    assert_gradients(parameters, total, variables, gradients, "discriminator", config)


def test_a_larger_image_of_a_w_for_each_layer():
    """W+: any w for any layer, the noise left out."""
    state, config, variables = build("generator", 32, z=5, w=6, layers=1)
    ws = DRAW.standard_normal((2, 8, 6), np.float32)
    expected = reference.synthesis(state, torch.tensor(ws).double(), "none")
    image = jax.jit(lambda ws: StyleGenerator(config).apply(variables, ws, "none", method="synthesize"))
    assert np.abs(channels_last(expected) - image(ws)).max() < TOLERANCE


def test_neither_skips_nor_residual_blocks():
    theirs, config, variables = build("generator", 8, z=5, w=6, layers=1, kind="orig")
    others, config, judge = build("discriminator", 8, base=config, kind="orig")
    assert config.generator == config.discriminator == "orig"
    ws = DRAW.standard_normal((4, 4, 6), np.float32)
    expected = reference.synthesis(theirs, torch.tensor(ws).double(), "const", "orig")
    logits = reference.discriminate(others, expected, kind="orig")

    @jax.jit
    def run(ws):
        images = StyleGenerator(config).apply(variables, ws, "const", method="synthesize")
        return images, StyleDiscriminator(config).apply(judge, images)

    images, found = run(ws)
    assert np.abs(channels_last(expected) - images).max() < TOLERANCE
    assert np.abs(logits.numpy() - found).max() < TOLERANCE
    with FlopCounterMode(display=False) as counter:
        reference.discriminate(others, reference.synthesis(theirs, torch.tensor(ws).double(), "const", "orig"), kind="orig")
    mapped = 2 * 4 * 5 * 6  # the one layer that was left out
    assert counter.get_total_flops() == 4 * (generator_flops(config) + discriminator_flops(config)) - mapped


@pytest.fixture(scope="module")
def small():
    """A generator of 8x8 that knows no classes, its variables, and z."""
    _, config, variables = build("generator", 8, z=5, w=6, layers=2)
    return StyleGenerator(config), variables, DRAW.standard_normal((4, 5), np.float32)


def test_truncation_is_traced(small):
    network, variables, z = small
    run = jax.jit(lambda psi, cutoff: network.apply(variables, z, truncation=psi, cutoff=cutoff, method="styles"))
    plain, mean = network.apply(variables, z, method="styles"), variables["w_avg"]["mean"]
    styles = jax.jit(lambda psi, cutoff: truncate(plain, mean, psi, cutoff))
    np.testing.assert_allclose(run(0.3, 2), styles(0.3, 2), atol=1e-6)
    assert plain.shape == (4, 4, 6) and (plain == plain[:, :1]).all()
    assert (styles(1.0, 9) == plain).all()
    np.testing.assert_allclose(styles(0.0, 9), np.broadcast_to(mean, plain.shape), atol=1e-6)
    half = styles(0.5, 3)
    assert (half[:, 3:] == plain[:, 3:]).all()
    np.testing.assert_allclose(half[:, :3], (plain[:, :3] + mean) / 2, atol=1e-6)
    each = styles(np.asarray([1.0, 0.5, 0.5, 0.0], np.float32), 3)
    np.testing.assert_array_equal(each[1:3], half[1:3])
    np.testing.assert_array_equal(each[0], plain[0])
    assert styles._cache_size() == 2  # one ψ, or one for each image


def test_the_average_of_w_moves_only_where_asked(small):
    network, variables, z = small
    before, w = variables["w_avg"]["mean"], network.apply(variables, z, method="styles")[:, 0]
    for train, expected in ((False, before), (True, 0.995 * before + 0.005 * w.mean(0))):
        _, moved = network.apply(variables, z, train=train, mutable=["w_avg"], method="styles")
        np.testing.assert_allclose(moved["w_avg"]["mean"], expected, atol=1e-6)
    assert (network.apply(variables, z, train=True, method="styles")[:, 0] == w).all()  # frozen: nothing to move


def test_styles_are_mixed(small):
    network, variables, z = small
    run = jax.jit(lambda z, other, crossover: network.apply(variables, z, noise="none", other_z=other, crossover=crossover))
    plain = jax.jit(lambda ws: network.apply(variables, ws, "none", method="synthesize"))
    ws = network.apply(variables, z, method="styles")
    for crossover in (np.asarray(1), np.asarray([0, 1, 3, 4])):
        mixed = np.array(ws)
        for image, place in enumerate(np.broadcast_to(crossover, 4)):
            mixed[image, place:] = ws[3 - image, place:]
        np.testing.assert_array_equal(mix_styles(ws, ws[::-1], crossover), mixed)
        np.testing.assert_allclose(run(z, z[::-1], crossover), plain(mixed), atol=1e-6)


def test_crossovers_are_drawn():
    draws = np.asarray(draw_crossover(jax.random.key(0), 6, 0.75, (4000,)))
    counts = np.bincount(draws, minlength=7)
    expected = np.asarray([0, 600, 600, 600, 600, 600, 1000])
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected) + 1e-9).all(), counts  # five deviations
    assert draw_crossover(jax.random.key(1), 6, 0.0).item() == 6


def test_noise_is_added_by_kind(small):
    network, variables, z = small
    same = np.repeat(z[:1], 4, 0)

    @jax.jit
    def images(key):
        return [network.apply(variables, same, noise=kind, rngs={"noise": key}) for kind in ("random", "const", "none")]

    (random, const, none), (other, *fixed) = images(jax.random.key(0)), images(jax.random.key(1))
    assert (const == fixed[0]).all() and (none == fixed[1]).all()
    # Random noise differs from draw to draw and from image to image; that of a constant is one for all images.
    assert np.abs(random - other).max() > 0.01 and np.abs(random[0] - random[1]).max() > 0.01
    np.testing.assert_allclose(const[0], const[1], atol=1e-6)
    assert np.abs(const - none).max() > 0.01


def test_half_precision_of_the_highest_resolutions():
    base = StyleGAN2Config(conv_clamp=256, dtype="float16", half_levels=2, mbstd_group_size=2)
    _, config, variables = build("generator", 8, base=base, z=5, w=6, layers=2)
    assert [config.dtype_at(size) for size in config.resolutions] == ["float32", "float16"]
    assert [STYLE_SIZES["paper256"].dtype_at(size) for size in (16, 32)] == ["float32", "float32"]
    half = dataclasses.replace(STYLE_SIZES["paper256"], dtype="bfloat16")
    assert [half.dtype_at(size) for size in (16, 32, 256)] == ["float32", "bfloat16", "bfloat16"]
    _, _, others = build("discriminator", 8, base=base)
    z = DRAW.standard_normal((2, 5), np.float32)

    def run(dtype):
        c = dataclasses.replace(config, dtype=dtype)
        images = StyleGenerator(c).apply(variables, z, noise="const")
        return images, StyleDiscriminator(c).apply(others, images)

    exact, *halves = jax.jit(lambda: [run(dtype) for dtype in ("float32", "float16", "bfloat16")])()
    for values, tolerance in zip(halves, (0.01, 0.1), strict=True):
        for expected, found in zip(exact, values, strict=True):
            assert found.dtype == jnp.float32
            assert 0 < np.abs(found - expected).max() < tolerance * np.abs(expected).max()


PUBLISHED = {
    # name: size, channels times resolution, layers of the mapping, kind of the discriminator, parameters of both networks
    "stylegan2": (1024, 32768, 8, "resnet", 30_370_060, 29_012_513),
    "paper1024": (1024, 32768, 8, "resnet", 30_370_060, 29_012_513),
    "paper512": (512, 32768, 8, "resnet", 30_276_583, 28_982_849),
    "paper256": (256, 16384, 8, "resnet", 24_767_458, 24_001_089),
    "cifar": (32, 32768, 2, "orig", 19_947_539, 20_720_641),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_published_ones(name):
    size, base, layers, kind, *counts = PUBLISHED[name]
    widths = {res: min(512, base // res) for res in reference.resolutions(size)}
    theirs = reference.generator_shapes(size, widths, layers=layers), reference.discriminator_shapes(size, widths, kind=kind)
    for part, (parameters, _), count in zip(("generator", "discriminator"), theirs, counts, strict=True):
        assert sum(math.prod(shape) for shape in parameters.values()) == count
        shapes = stylegan2.shapes(STYLE_SIZES[name], part)
        assert sum(math.prod(shape) for path, shape in shapes.items() if path.startswith("params/")) == count


def test_files_both_ways(tmp_path):
    """The names and bits of both networks, buffers included, and configs told from them alone."""
    base = StyleGAN2Config(mbstd_group_size=2, conv_clamp=7.0)
    states, config = {}, base
    for part, options in (("generator", dict(z=5, w=6, layers=2, kind="resnet")), ("discriminator", dict(kind="skip"))):
        states[part], config, variables = build(part, 8, base=config, classes=3, **options)
        states[part] = states[part], variables
    assert config.mbstd_group_size == 2 and config.conv_clamp == 7.0 and config.taps == (1, 3, 3, 1)
    stylegan2.save(tmp_path / "both", config, **{part: variables for part, (_, variables) in states.items()})
    for part, (state, variables) in states.items():
        written = safetensors_io.open_folder(tmp_path / "both", part)
        assert written.keys() == state.keys()
        for name, tensor in written.items():
            assert tensor.load().tobytes() == state[name].float().numpy().tobytes(), name
        found, again = stylegan2.load(tmp_path / "both", part, config)
        assert found == config
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), again, variables))


def test_first_variables_are_those_of_the_table():
    """What a new network begins with is what its file holds: no variable is without a name there."""
    config = StyleGAN2Config(image_size=8, latent=5, style_width=6, mapping_layers=1, channel_base=32, channel_max=8)
    variables = jax.jit(StyleGenerator(config).init)(jax.random.key(0), jnp.zeros((1, 5)))
    tensors = stylegan2.to_tensors(variables, "generator", config)
    assert stylegan2.infer_config(tensors, "generator", "here") == config
    assert tensors["synthesis.b8.conv0.affine.bias"].load().tolist() == [1] * 8
    assert tensors["synthesis.b8.conv0.noise_strength"].load() == 0
    assert tensors["mapping.fc0.weight"].load().std() == pytest.approx(100, rel=0.5)
    assert np.abs(tensors["synthesis.b8.conv1.noise_const"].load()).max() > 0


def test_files_that_do_not_fit(tmp_path):
    state, _, _ = build("generator", 8, z=5, w=6, layers=2)
    tensors = lazily(state)
    wrong = {name: tensor for name, tensor in tensors.items() if name != "synthesis.b8.conv0.bias"}
    wrong |= {"synthesis.b8.conv1.noise_const": lazy.of_array(np.zeros((4, 4), np.float32)), "extra": lazy.of_array(np.zeros(2))}
    with pytest.raises(CheckpointError) as error:
        stylegan2.from_tensors(wrong, "generator", "the file")
    assert "(3 tensors)" in str(error.value)
    for part in ("missing: synthesis.b8.conv0.bias, expected (8,)", "noise_const is (4, 4), expected (8, 8)", "left over: extra"):
        assert part in str(error.value)
    with pytest.raises(CheckpointError, match="is no discriminator of StyleGAN2: it has b{resolution}.conv1.weight"):
        stylegan2.from_tensors(tensors, "discriminator", "the file")
    with pytest.raises(CheckpointError, match=r"mapping\.w_avg is not there, and 1 axes were expected"):
        stylegan2.infer_config({name: t for name, t in tensors.items() if "w_avg" not in name}, "generator", "the file")
    other = tensors | {"synthesis.b8.conv1.resample_filter": lazy.of_array(np.ones((4, 4), np.float32))}
    with pytest.raises(CheckpointError, match=r"synthesis\.b8\.conv1\.resample_filter differ from"):
        stylegan2.infer_config(other, "generator", "the file")
    with pytest.raises(CheckpointError, match="a pickle, which can run code"):
        stylegan2.load(tmp_path / "ffhq.pkl", "generator")


@pytest.mark.parametrize(
    "values, message",
    [
        (dict(image_size=48), "image_size is 48; it must be a power of 2, and 8 or more: use 64"),
        (dict(image_size=4), "use 8"),
        (dict(channel_base=512), "leaves no channel at 1024x1024; use 1024 or more"),
        (dict(mbstd_channels=3), "mbstd_channels 3 does not divide the 512 channels of 4x4"),
        (dict(taps=(1.0, -1.0)), "their sum must not be 0"),
        (dict(average_decay=1.0), "average_decay is 1.0"),
        (dict(mapping_lr_multiplier=0.0), "mapping_lr_multiplier is 0.0"),
        (dict(dtype="float16"), "set model.conv_clamp"),
        (dict(latent=0), "latent is 0; it must be 1 or more"),
    ],
)
def test_configs_that_cannot_be(values, message):
    with pytest.raises(ConfigError, match=message):
        StyleGAN2Config(**values)


def test_calls_that_cannot_be(small):
    network, variables, z = small
    calls = {
        r"z is \(4, 4\); it must be \(batch, 5\)": dict(z=z[:, 1:]),
        "classes were given to a network of model.num_classes 0": dict(z=z, classes=jnp.zeros(4, int)),
        "random noise needs a key": dict(z=z),
        "noise is 'fixed'": dict(z=z, noise="fixed"),
        "give both or neither": dict(z=z, other_z=z),
    }
    for message, given in calls.items():
        with pytest.raises(ConfigError, match=message):
            jax.eval_shape(lambda given=given: network.apply(variables, **given))
    with pytest.raises(ConfigError, match=r"ws is \(4, 5, 6\); it must be \(batch, 4, 6\)"):
        jax.eval_shape(lambda: network.apply(variables, jnp.zeros((4, 5, 6)), method="synthesize"))
    judge = StyleDiscriminator(StyleGAN2Config(image_size=8, num_classes=2))
    with pytest.raises(ConfigError, match="no classes were given to a network of model.num_classes 2"):
        jax.eval_shape(judge.init, jax.random.key(0), jnp.zeros((4, 8, 8, 3)))
    with pytest.raises(ConfigError, match=r"images are \(16, 16, 3\); the network reads \(8, 8, 3\)"):
        jax.eval_shape(judge.init, jax.random.key(0), jnp.zeros((4, 16, 16, 3)))
