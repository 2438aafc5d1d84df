"""Convolutional GANs against their published definitions in torch, through their weights' files; and back into such files.

The classes below state the networks of the public code under the public names: pytorch/examples (dcgan), pytorch-CycleGAN-and-
pix2pix, xinntao/ESRGAN with BasicSR, torchvision (VGG). Sizes are tiny; of the published sizes, tensors are counted.
"""

import copy
import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from genjax import tasks
from genjax.adversarial.feature_matching import feature_matching
from genjax.errors import CheckpointError, ConfigError
from genjax.interop import public_files
from genjax.models.cyclegan import CycleGANConfig
from genjax.models.dcgan import DCGANConfig
from genjax.models.esrgan import ESRGANConfig
from genjax.models.patchgan import PatchGANConfig
from genjax.models.pix2pix import Pix2PixConfig
from genjax.models.vgg import VGGConfig

NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}


def dcgan_generator(latent, width, channels, doublings):
    widths = [width << i for i in reversed(range(doublings))]
    layers = [nn.ConvTranspose2d(latent, widths[0], 4, 1, 0, bias=False)]
    for before, after in zip(widths, [*widths[1:], channels], strict=True):
        layers += [nn.BatchNorm2d(before), nn.ReLU(True), nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
    return Main(*layers, nn.Tanh())


def dcgan_discriminator(width, channels, doublings, spectral=False):
    layers, before = [], channels
    for i in range(doublings):
        conv = nn.Conv2d(before, width << i, 4, 2, 1, bias=spectral)
        norm = [nn.BatchNorm2d(width << i)] if i and not spectral else []
        layers += [spectral_norm(conv) if spectral else conv, *norm, nn.LeakyReLU(0.2, True)]
        before = width << i
    conv = nn.Conv2d(before, 1, 4, 1, 0, bias=spectral)
    return Main(*layers, spectral_norm(conv) if spectral else conv, nn.Flatten(0))


class Main(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.main = nn.Sequential(*layers)

    def forward(self, x):
        return self.main(x[..., None, None] if x.ndim == 2 else x)


class NLayerDiscriminator(nn.Module):
    def __init__(self, channels, width, layers, norm, spectral=False):
        super().__init__()
        wrap, normal = (spectral_norm, lambda _: []) if spectral else (lambda m: m, lambda f: [NORMS[norm](f)])
        bias, widths = norm != "batch", [width * min(2**i, 8) for i in range(layers + 1)]
        found = [wrap(nn.Conv2d(channels, width, 4, 2, 1)), nn.LeakyReLU(0.2, True)]
        for i in range(1, layers + 1):
            conv = nn.Conv2d(widths[i - 1], widths[i], 4, 2 if i < layers else 1, 1, bias=bias)
            found += [wrap(conv), *normal(widths[i]), nn.LeakyReLU(0.2, True)]
        self.model = nn.Sequential(*found, wrap(nn.Conv2d(widths[-1], 1, 4, 1, 1)))

    def forward(self, x):
        return self.model(x)[:, 0]


class PixelDiscriminator(nn.Module):
    def __init__(self, channels, width, norm):
        super().__init__()
        bias = norm == "instance"
        first, second = nn.Conv2d(channels, width, 1), nn.Conv2d(width, 2 * width, 1, bias=bias)
        last = nn.Conv2d(2 * width, 1, 1, bias=bias)
        self.net = nn.Sequential(first, nn.LeakyReLU(0.2, True), second, NORMS[norm](2 * width), nn.LeakyReLU(0.2, True), last)

    def forward(self, x):
        return self.net(x)[:, 0]


class UnetGenerator(nn.Module):
    def __init__(self, before, after, levels, width, norm, dropout=0.5):
        super().__init__()
        block = UnetSkipConnectionBlock(8 * width, 8 * width, None, norm, innermost=True)
        for _ in range(levels - 5):
            block = UnetSkipConnectionBlock(8 * width, 8 * width, block, norm, dropout=dropout)
        for times in (4, 2, 1):
            block = UnetSkipConnectionBlock(times * width, 2 * times * width, block, norm)
        self.model = UnetSkipConnectionBlock(after, width, block, norm, before=before)

    def forward(self, x):
        return self.model(x)


class UnetSkipConnectionBlock(nn.Module):
    def __init__(self, outer, inner, inside, norm, before=0, innermost=False, dropout=0.0):
        super().__init__()
        self.outermost, bias = bool(before), norm == "instance"
        down = nn.Conv2d(before or outer, inner, 4, 2, 1, bias=bias)
        up = nn.ConvTranspose2d(inner if innermost else 2 * inner, outer, 4, 2, 1, bias=bias or self.outermost)
        if self.outermost:
            layers = [down, inside, nn.ReLU(True), up, nn.Tanh()]
        elif innermost:
            layers = [nn.LeakyReLU(0.2, True), down, nn.ReLU(True), up, NORMS[norm](outer)]
        else:
            layers = [nn.LeakyReLU(0.2, True), down, NORMS[norm](inner), inside, nn.ReLU(True), up, NORMS[norm](outer)]
            layers += [nn.Dropout(dropout)] if dropout else []
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class ResnetGenerator(nn.Module):
    def __init__(self, before, after, width, norm, blocks, dropout=False):
        super().__init__()
        bias = norm == "instance"
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(before, width, 7, bias=bias), NORMS[norm](width), nn.ReLU(True)]
        for i in (1, 2):
            layers += [nn.Conv2d(i * width, 2 * i * width, 3, 2, 1, bias=bias), NORMS[norm](2 * i * width), nn.ReLU(True)]
        layers += [ResnetBlock(4 * width, norm, bias, dropout) for _ in range(blocks)]
        for i in (2, 1):
            up = nn.ConvTranspose2d(2 * i * width, i * width, 3, 2, 1, 1, bias=bias)
            layers += [up, NORMS[norm](i * width), nn.ReLU(True)]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, after, 7), nn.Tanh())

    def forward(self, x):
        return self.model(x)


class ResnetBlock(nn.Module):
    def __init__(self, width, norm, bias, dropout):
        super().__init__()
        half = lambda: [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=bias), NORMS[norm](width)]  # noqa: E731
        self.conv_block = nn.Sequential(*half(), nn.ReLU(True), *([nn.Dropout(0.5)] if dropout else []), *half())

    def forward(self, x):
        return x + self.conv_block(x)


class RRDBNet(nn.Module):
    """BasicSR's; images in [0, 1]."""

    def __init__(self, channels, scale, width, blocks, growth):
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(4 // scale)
        self.conv_first = nn.Conv2d(channels * (4 // scale) ** 2, width, 3, 1, 1)
        self.body = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)))
        for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
            self.add_module(name, nn.Conv2d(width, width, 3, 1, 1))
        self.conv_last = nn.Conv2d(width, channels, 3, 1, 1)

    def forward(self, x):
        act, double = nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2)
        x = self.conv_first(self.unshuffle(x))
        x = x + self.conv_body(self.body(x))
        x = act(self.conv_up2(double(act(self.conv_up1(double(x))))))
        return self.conv_last(act(self.conv_hr(x)))


class RRDB(nn.Module):
    def __init__(self, width, growth):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(width, growth) for _ in range(3))

    def forward(self, x):
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class DenseBlock(nn.Module):
    def __init__(self, width, growth):
        super().__init__()
        for i in range(5):
            self.add_module(f"conv{i + 1}", nn.Conv2d(width + i * growth, growth if i < 4 else width, 3, 1, 1))

    def forward(self, x):
        seen = [x]
        for i in range(1, 5):
            seen.append(F.leaky_relu(getattr(self, f"conv{i}")(torch.cat(seen, 1)), 0.2))
        return self.conv5(torch.cat(seen, 1)) * 0.2 + x


class VGG(nn.Module):
    """torchvision's; colors less their mean, over their deviation. `layers` are places in `features`."""

    def __init__(self, depth, width, layers=()):
        super().__init__()
        found, before = [], 3
        for times, count in zip((1, 2, 4, 8, 8), {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}[depth], strict=True):
            for _ in range(count):
                found += [nn.Conv2d(before, times * width, 3, padding=1), nn.ReLU()]
                before = times * width
            found.append(nn.MaxPool2d(2))
        self.features, self.layers = nn.Sequential(*found), layers
        self.classifier = nn.Sequential(nn.Linear(before, 10))

    def forward(self, x):
        found = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            found += [x] if i in self.layers else []
            if i == self.layers[-1]:
                return found


def randomized(model):
    """Weights that keep activations of order 1, and statistics and scales that are off their first values."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda value: torch.randn(value.shape, generator=generator)  # noqa: E731
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith(("._u", "._v")) or not value.is_floating_point():
                continue
            if value.ndim > 1:
                value.copy_(draw(value) * (1.5 / value[0].numel()) ** 0.5)
            elif name.endswith(("running_var", "weight")):
                value.copy_(1 + 0.2 * draw(value).clip(-2, 2))
            else:
                value.copy_(0.2 * draw(value))
    for module in model.modules():
        if is_parametrized(module, "weight"):  # singular vectors of these weights: others may give a norm near zero
            kernel = module.parametrizations.weight.original
            module.parametrizations.weight[0]._power_method(kernel.detach().flatten(1), 20)
    return model


def channels_last(value):
    return np.moveaxis(value.detach().numpy(), 1, -1) if value.ndim == 4 else value.detach().numpy()


# name of the layout, their network, the shape of an input (channels last), our config, settings
CASES = {
    "dcgan generator": (
        *("dcgan_generator", lambda: dcgan_generator(7, 3, 2, 3), (3, 7)),
        *(DCGANConfig(32, 2, 7, 3), {}),
    ),
    "dcgan discriminator": (
        *("dcgan_discriminator", lambda: dcgan_discriminator(3, 2, 3), (3, 32, 32, 2)),
        *(DCGANConfig(32, 2, width=5, discriminator_width=3), {"width": 5}),
    ),
    "dcgan discriminator, spectral": (
        *("dcgan_discriminator", lambda: dcgan_discriminator(3, 2, 2, spectral=True), (3, 16, 16, 2)),
        *(DCGANConfig(16, 2, discriminator_width=3, discriminator_norm="spectral"), {}),
    ),
    "patchgan, instance": (
        *("patchgan", lambda: NLayerDiscriminator(3, 4, 3, "instance"), (2, 32, 40, 3)),
        *(PatchGANConfig(3, 4), {}),
    ),
    "patchgan, batch": (
        *("patchgan", lambda: NLayerDiscriminator(6, 4, 1, "batch"), (2, 16, 16, 6)),
        *(PatchGANConfig(6, 4, 1, "batch"), {}),
    ),
    "patchgan, spectral": (
        *("patchgan", lambda: NLayerDiscriminator(3, 4, 2, "none", True), (2, 16, 16, 3)),
        *(PatchGANConfig(3, 4, 2, "spectral"), {}),
    ),
    "patchgan, pixels, instance": (
        *("patchgan", lambda: PixelDiscriminator(3, 4, "instance"), (2, 8, 8, 3)),
        *(PatchGANConfig(3, 4, 0), {}),
    ),
    "patchgan, pixels, batch": (
        *("patchgan", lambda: PixelDiscriminator(3, 4, "batch"), (2, 8, 8, 3)),
        *(PatchGANConfig(3, 4, 0, "batch"), {}),
    ),
    "pix2pix, batch": (
        *("pix2pix", lambda: UnetGenerator(3, 2, 5, 2, "batch"), (2, 32, 32, 3)),
        *(Pix2PixConfig(3, 2, 5, 2, dropout=0.0), {"dropout": 0.0}),
    ),
    "pix2pix, batch, moving statistics": (
        *("pix2pix", lambda: UnetGenerator(3, 2, 6, 1, "batch"), (2, 64, 64, 3)),
        *(Pix2PixConfig(3, 2, 6, 1, "batch", 0.5, "moving", False), {"test_statistics": "moving", "test_dropout": False}),
    ),
    "pix2pix, instance": (
        *("pix2pix", lambda: UnetGenerator(1, 3, 5, 2, "instance", 0.0), (2, 32, 64, 1)),
        *(Pix2PixConfig(1, 3, 5, 2, "instance"), {}),
    ),
    "cyclegan, instance": (
        *("cyclegan", lambda: ResnetGenerator(3, 2, 3, "instance", 2), (2, 16, 12, 3)),
        *(CycleGANConfig(3, 2, 3, blocks=2), {}),
    ),
    "cyclegan, batch, dropout": (
        *("cyclegan", lambda: ResnetGenerator(3, 3, 2, "batch", 1, True), (2, 16, 16, 3)),
        *(CycleGANConfig(width=2, blocks=1, norm="batch", dropout=0.5), {}),
    ),
    "esrgan": (
        *("esrgan", lambda: RRDBNet(3, 4, 6, 2, 4), (2, 5, 6, 3)),
        *(ESRGANConfig(width=6, growth=4, blocks=2), {}),
    ),
    "esrgan, scale 2, one channel, not scanned": (
        *("esrgan", lambda: RRDBNet(1, 2, 4, 1, 2), (2, 6, 4, 1)),
        *(ESRGANConfig(1, 2, 4, 2, 1, scan_layers=False), {"scan_layers": False}),
    ),
    "vgg 16": (
        *("vgg", lambda: VGG(16, 4, (3, 8, 15, 22)), (2, 32, 24, 3)),
        *(VGGConfig(width=4), {}),
    ),
    "vgg 19": (
        *("vgg", lambda: VGG(19, 4, (1, 16)), (2, 8, 9, 3)),
        *(VGGConfig(19, ("relu1_1", "conv3_4"), 4), {"layers": ("relu1_1", "conv3_4")}),
    ),
}
# What trains otherwise than it is tested: statistics, u or v move.
TRAINED = [
    *("dcgan generator", "dcgan discriminator", "dcgan discriminator, spectral", "patchgan, batch", "patchgan, spectral"),
    *("patchgan, pixels, batch", "pix2pix, batch"),
]


def as_torch_reads(layout, x):
    x = x.movedim(-1, 1) if x.ndim == 4 else x
    if layout == "esrgan":
        return (x + 1) / 2
    if layout == "vgg":
        mean, deviation = (torch.tensor(value)[:, None, None] for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        return ((x + 1) / 2 - mean) / deviation
    return x


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Case -> (their network, our module, our variables, an input); every file is read as it was written."""
    held = {}

    def load(name):
        if name not in held:
            layout, make, shape, config, settings = CASES[name]
            theirs = randomized(make())
            for module in theirs.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0  # what is dropped is drawn in other ways
            path = tmp_path_factory.mktemp("gans") / "net.pth"
            torch.save(theirs.state_dict(), path)
            found, variables = public_files.load(layout, path, **settings)
            assert found == config
            x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
            held[name] = theirs, public_files.LAYOUTS[layout].network(config), variables, x
        theirs, *ours = held[name]
        return copy.deepcopy(theirs), *ours  # what moves in one test is not moved in the next

    return load


@pytest.mark.parametrize("name", CASES)
def test_numbers_and_gradients(name, loaded):
    """Results when not training; where no other test sees gradients, the input's, which all kernels take part in."""
    theirs, ours, variables, x = loaded(name)
    layout, config = CASES[name][0], CASES[name][3]
    theirs.train(layout == "pix2pix" and config.test_statistics == "batch")
    given = torch.from_numpy(x).requires_grad_()
    expected = theirs(as_torch_reads(layout, given))
    expected = [2 * expected - 1] if layout == "esrgan" else expected if layout == "vgg" else [expected]
    weights = [torch.randn(value.shape) for value in expected]

    def total(x):
        found = ours.apply(variables, x)
        found = [found[layer] for layer in config.layers] if layout == "vgg" else [found]
        return sum((value * channels_last(weight)).sum() for value, weight in zip(found, weights, strict=True)), found

    if name in TRAINED or "moving" in name:
        _, found = jax.jit(total)(x)
    else:
        sum((value * weight).sum() for value, weight in zip(expected, weights, strict=True)).backward()
        gradient, found = jax.jit(jax.grad(total, has_aux=True))(x)
        largest = given.grad.abs().max().item()
        assert largest > 1e-3
        np.testing.assert_allclose(gradient, given.grad, rtol=0, atol=1e-3 * largest)
    for one, two in zip(found, expected, strict=True):
        assert one.dtype == jnp.float32 and two.std() > 0.02, "the case says nothing"
        np.testing.assert_allclose(one, channels_last(two), rtol=0, atol=2e-5 * max(1, two.abs().max().item()))


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_pass(name, loaded, tmp_path):
    """Results, the gradient of every kernel, and all that moves: statistics, u and v."""
    theirs, ours, variables, x = loaded(name)
    layout, config = CASES[name][0], CASES[name][3]
    theirs.train()
    expected = theirs(as_torch_reads(layout, torch.from_numpy(x)))
    weight = torch.randn(expected.shape)
    (expected * weight).sum().backward()
    params, rest = variables["params"], {key: value for key, value in variables.items() if key != "params"}

    def total(params):
        found, new = ours.apply({"params": params, **rest}, x, train=True, mutable=list(rest))
        return (found * channels_last(weight)).sum(), (found, new)

    gradients, (found, new) = jax.jit(jax.grad(total, has_aux=True))(params)
    np.testing.assert_allclose(found, channels_last(expected), rtol=0, atol=2e-5 * max(1, expected.abs().max().item()))
    # Both go through the table of names: gradients as if they were parameters.
    public_files.save(layout, config, {"params": gradients, **new}, tmp_path / "new")
    written = load_file(tmp_path / "new" / "model.safetensors")
    moved = theirs.state_dict()
    for key, parameter in theirs.named_parameters():
        largest = parameter.grad.abs().max().item()
        np.testing.assert_allclose(written.pop(key), parameter.grad, rtol=0, atol=1e-3 * max(largest, 1e-3), err_msg=key)
    for key, value in written.items():
        np.testing.assert_allclose(value, moved[key], rtol=0, atol=2e-5 * max(1, moved[key].abs().max().item()), err_msg=key)


@pytest.mark.parametrize("name", CASES)
def test_files_come_back_with_the_same_bits(name, loaded, tmp_path):
    theirs, _, variables, _ = loaded(name)
    layout, config = CASES[name][0], CASES[name][3]
    public_files.save(layout, config, variables, tmp_path / "out")
    written, original = load_file(tmp_path / "out" / "model.safetensors"), theirs.state_dict()
    left_out = {key for key in original if key.endswith("num_batches_tracked") or key.startswith("classifier")}
    if layout == "vgg":  # which ends at the deepest layer asked for
        last = {"vgg 16": 22, "vgg 19": 16}[name]
        left_out |= {key for key in original if int(key.split(".")[1]) > last}
    assert written.keys() == original.keys() - left_out
    for key, value in written.items():
        assert value.numpy().tobytes() == original[key].numpy().tobytes(), key
    if layout != "vgg":
        theirs.load_state_dict(written)  # strict: torch sets the counters itself


@pytest.mark.parametrize(
    ("layout", "config"),
    [
        ("dcgan_generator", DCGANConfig(8, 1, 5, 2, norm="none")),
        ("dcgan_generator", DCGANConfig(8, 1, 5, 2, norm="layer")),
        ("dcgan_discriminator", DCGANConfig(8, 1, discriminator_width=2, discriminator_norm="none")),
        ("dcgan_discriminator", DCGANConfig(16, 1, discriminator_width=2, discriminator_norm="layer")),
        ("patchgan", PatchGANConfig(1, 2, 2, "none")),
        ("patchgan", PatchGANConfig(1, 2, 0, "spectral")),
    ],
    ids=str,
)
def test_other_norms_are_told_apart(layout, config, tmp_path):
    """Configs of which nobody published weights, from our own files."""
    draw = np.random.default_rng(0)
    flat = {path: draw.normal(size=shape).astype(np.float32) for path, shape in public_files.shapes_of(layout, config).items()}
    public_files.save(layout, config, unflatten_dict(flat, sep="/"), tmp_path / "out")
    found, variables = public_files.load(layout, tmp_path / "out")
    assert found == config
    for path, value in flatten_dict(variables, sep="/").items():
        np.testing.assert_array_equal(value, flat[path])


def test_older_names(loaded, tmp_path):
    """ESRGAN's of 2018 and those before; a file of Real-ESRGAN, which has its weights one floor down; DataParallel; weight_u."""
    theirs, _, variables, _ = loaded("esrgan")
    config = CASES["esrgan"][3]
    public_files.save("esrgan_2018", config, variables, tmp_path / "old")
    old = load_file(tmp_path / "old" / "model.safetensors")
    assert {"RRDB_trunk.1.RDB3.conv5.weight", "trunk_conv.bias", "upconv2.weight", "HRconv.bias", "conv_last.weight"} <= set(old)
    oldest = {}
    places = {"conv_first": "0", "conv_body": "1.sub.2", "conv_up1": "3", "conv_up2": "6", "conv_hr": "8", "conv_last": "10"}
    for key, value in theirs.state_dict().items():
        head, *middle, tail = key.split(".")
        place = f"1.sub.{middle[0]}.RDB{middle[1][3]}.{middle[2]}.0" if head == "body" else places[head]
        oldest[f"model.{place}.{tail}"] = value
    torch.save(oldest, tmp_path / "oldest.pth")
    random = {key: torch.zeros_like(value) for key, value in old.items()}
    torch.save({"params": random, "params_ema": theirs.state_dict()}, tmp_path / "real.pth")
    for path in ("old", "oldest.pth", "real.pth"):
        found, other = public_files.load("esrgan", tmp_path / path)
        assert found == config and jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), variables, other)), path
    theirs, _, variables, _ = loaded("patchgan, spectral")
    ends = (("parametrizations.weight.original", "weight_orig"), ("parametrizations.weight.0._", "weight_"))
    renamed = {}
    for key, value in theirs.state_dict().items():
        for new, before in ends:
            key = key.replace(new, before)
        renamed[f"module.{key}"] = value
    assert "module.model.0.weight_u" in renamed
    save_file(renamed, tmp_path / "before.safetensors")
    _, other = public_files.load("patchgan", tmp_path / "before.safetensors")
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), variables, other))


def test_statistics_of_old_instance_norms_are_nothing(loaded, tmp_path):
    theirs, _, variables, _ = loaded("cyclegan, instance")
    extra = {"model.2.running_mean": torch.ones(3), "model.2.running_var": torch.ones(3)}
    torch.save(theirs.state_dict() | extra, tmp_path / "net.pth")
    _, other = public_files.load("cyclegan", tmp_path / "net.pth")
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), variables, other))


PUBLISHED = {  # parameters, counted on the torch networks above, and as their projects print them
    "patchgan": (NLayerDiscriminator, (3, 64, 3, "instance"), PatchGANConfig(), 2_764_737),
    "patchgan of pix2pix": (NLayerDiscriminator, (6, 64, 3, "batch"), PatchGANConfig(6, norm="batch"), 2_768_705),
    "pix2pix": (UnetGenerator, (3, 3, 8, 64, "batch"), Pix2PixConfig(), 54_413_955),
    "cyclegan": (ResnetGenerator, (3, 3, 64, "instance", 9), CycleGANConfig(), 11_378_179),
    "esrgan": (RRDBNet, (3, 4, 64, 23, 32), ESRGANConfig(), 16_697_987),
    "dcgan_generator": (dcgan_generator, (100, 64, 3, 4), DCGANConfig(), 3_576_704),
    "dcgan_discriminator": (dcgan_discriminator, (64, 3, 4), DCGANConfig(), 2_765_568),
    "vgg": (VGG, (16, 64), VGGConfig(layers=("relu5_3",)), 14_714_688),
    "vgg of 19": (VGG, (19, 64), VGGConfig(19, ("conv5_4",)), 20_024_384),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_size(name):
    make, arguments, config, published = PUBLISHED[name]
    layout = name.split()[0]
    with torch.device("meta"):
        theirs = {key: p for key, p in make(*arguments).named_parameters() if not key.startswith("classifier")}
    shapes = {path: shape for path, shape in public_files.shapes_of(layout, config).items() if path.startswith("params/")}
    assert sum(math.prod(shape) for shape in shapes.values()) == published == sum(p.numel() for p in theirs.values())


def test_files_that_do_not_fit_are_described(loaded, tmp_path):
    theirs = loaded("cyclegan, instance")[0].state_dict()
    changed = theirs | {"model.4.weight": torch.zeros(5, 3, 3, 3), "what": torch.zeros(2)}
    del changed["model.10.conv_block.1.bias"]
    torch.save(changed, tmp_path / "net.pth")
    with pytest.raises(CheckpointError) as error:
        public_files.load("cyclegan", tmp_path / "net.pth")
    for part in (
        *("(3 tensors)", "wrong shape: model.4.weight is (5, 3, 3, 3), expected (6, 3, 3, 3)", "left over: what (2,)"),
        "missing: model.10.conv_block.1.bias, expected (12,)",
    ):
        assert part in str(error.value)
    save_file(theirs, tmp_path / "net.safetensors")
    with pytest.raises(CheckpointError, match="has no model.model.0.weight, by which a generator of pix2pix is told: is it one"):
        public_files.load("pix2pix", tmp_path / "net.safetensors")
    for layout in ("dcgan_generator", "dcgan_discriminator", "patchgan", "esrgan", "vgg"):
        with pytest.raises(CheckpointError, match="is told: is it one.*It holds model.1.bias, model.1.weight"):
            public_files.load(layout, tmp_path / "net.safetensors")
    with pytest.raises(CheckpointError, match="absent.pth cannot be read: No such file"):
        public_files.load("vgg", tmp_path / "absent.pth")
    with pytest.raises(ConfigError, match="layout 'cycle_gan' is not known; did you mean 'cyclegan'"):
        public_files.load("cycle_gan", tmp_path / "net.safetensors")
    with pytest.raises(ConfigError, match="setting of a generator of CycleGAN: 'drop' is not known; did you mean 'dropout'"):
        public_files.load("cyclegan", tmp_path / "net.safetensors", drop=1)


def test_what_no_file_can_hold_is_refused(loaded, tmp_path):
    _, _, variables, _ = loaded("dcgan generator")
    config = CASES["dcgan generator"][3]
    with pytest.raises(CheckpointError, match="knows no classes, and this one has 3"):
        public_files.save("dcgan_generator", dataclasses.replace(config, num_classes=3), variables, tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"wrong shape: params/conv_0/kernel is \(4, 4, 7, 12\), expected \(4, 4, 8, 12\)"):
        public_files.save("dcgan_generator", dataclasses.replace(config, latent=8), variables, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["patchgan, instance", "patchgan, spectral"])
def test_features_are_what_each_activation_gives(name, loaded):
    """And matched as pix2pixHD's code does: torch's L1 loss of each layer."""
    theirs, ours, variables, x = loaded(name)
    theirs.eval()
    given, seen = torch.from_numpy(x).movedim(-1, 1), []
    for layer in theirs.model:
        given = layer(given)
        seen += [given.detach()] if isinstance(layer, nn.LeakyReLU) else []
    logits, found = jax.jit(lambda x: ours.apply(variables, x, features=True))(x)
    np.testing.assert_allclose(logits, given[:, 0].detach(), rtol=0, atol=2e-5 * max(1, given.abs().max().item()))
    for one, two in zip(found, seen, strict=True):
        np.testing.assert_allclose(one, channels_last(two), rtol=0, atol=2e-5 * max(1, two.abs().max().item()))
    expected = sum(F.l1_loss(layer[:1].double(), layer[1:].double()) for layer in seen)
    matched = feature_matching([layer[:1] for layer in found], [layer[1:] for layer in found])
    assert expected > 0.1
    np.testing.assert_allclose(matched, expected, rtol=1e-4)


def test_a_generator_as_it_is_downloaded(loaded, tmp_path):
    """CycleGAN's are one file, under pix2pix's name, with statistics that nothing reads."""
    torch.manual_seed(0)
    theirs = randomized(ResnetGenerator(3, 3, 3, "instance", 2))
    torch.save(theirs.state_dict(), tmp_path / "latest_net_G.pth")
    task, variables = tasks.open_weights(tmp_path)
    assert task.config.network == "resnet" and list(variables) == ["generator"]
    x = np.random.default_rng(0).uniform(-1, 1, (2, 16, 12, 3)).astype(np.float32)
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(x).movedim(-1, 1))
    made = jax.jit(task.translator.alone)(variables["generator"], x, jax.random.split(jax.random.key(0), 2))
    np.testing.assert_allclose(made, channels_last(expected), rtol=0, atol=1e-4)
    torch.save(ResnetGenerator(3, 2, 3, "instance", 1).state_dict(), tmp_path / "latest_net_G.pth")
    with pytest.raises(CheckpointError, match="makes images of 2 channels of those of 3; both must have the same"):
        tasks.open_weights(tmp_path)
