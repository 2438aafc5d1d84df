"""Convolutional GANs against their published definitions in torch, through their weights' files; and back into such files.

Sizes are tiny; of the published sizes, tensors are counted.
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
from tests.parity.conv_gan_reference import (
    VGG,
    NLayerDiscriminator,
    PixelDiscriminator,
    ResnetGenerator,
    RRDBNet,
    UnetGenerator,
    channels_last,
    dcgan_discriminator,
    dcgan_generator,
    randomized,
)

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
