"""The Inception network of FID against its published definition in torch, and its weights' file.

pytorch-fid's own class needs torchvision, which cannot be a dependency of the tests; the class below states the same network. On
the same random weights of full size both give the same bits, and the same names and shapes of tensors.
"""

import hashlib

import jax
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from genjax.errors import CheckpointError, ConfigError
from genjax.interop import inception
from genjax.models.inception import Inception, InceptionConfig

TINY = InceptionConfig(width=4, num_classes=11, image_size=107)
# Outputs of order 1 to 10, in float32 sums of up to 3,456 products; the issue asks for 1e-4.
TOLERANCE = 5e-5


class BasicConv2d(nn.Module):
    def __init__(self, before, after, size, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(before, after, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Branches by name: chains of convolutions, given as (features, size, stride)."""

    def __init__(self, before, chains, pool, scale):
        super().__init__()
        self.chains, self.pool = [], pool
        for name, steps in chains.items():
            width, names = before, []
            for i, (features, size, *stride) in enumerate(steps, 1):
                after, pair = int(features * scale), (size, size) if isinstance(size, int) else size
                padding = 0 if stride else (pair[0] // 2, pair[1] // 2)
                if name.endswith("ab") and i == len(steps):  # a fork of two
                    for letter, turned in (("a", pair), ("b", pair[::-1])):
                        padding = (turned[0] // 2, turned[1] // 2)
                        self.add_module(f"{name[:-2]}_{i}{letter}", BasicConv2d(width, after, turned, 1, padding))
                    names.append((f"{name[:-2]}_{i}a", f"{name[:-2]}_{i}b"))
                else:
                    full = name.removesuffix("ab") + (f"_{i}" if len(steps) > 1 else "")
                    self.add_module(full, BasicConv2d(width, after, pair, *(stride or [1]), padding))
                    names.append((full,))
                width = after
            if name != "branch_pool":
                self.chains.append(names)

    def forward(self, x):
        results = []
        for names in self.chains:
            y = [x]
            for step in names:
                y = [getattr(self, name)(y[0]) for name in step]
            results += y
        if self.pool == "halve":
            return torch.cat([*results, F.max_pool2d(x, 3, 2)], 1)
        if self.pool == "max":
            pooled = F.max_pool2d(x, 3, 1, 1)
        else:
            pooled = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return torch.cat([*results, self.branch_pool(pooled)], 1)


class Reference(nn.Module):
    """torchvision's Inception v3 as pytorch-fid patches it, at `scale` of its width."""

    def __init__(self, scale=1.0, classes=1008):
        super().__init__()
        s = lambda features: int(features * scale)  # noqa: E731
        self.Conv2d_1a_3x3 = BasicConv2d(3, s(32), 3, 2)
        self.Conv2d_2a_3x3 = BasicConv2d(s(32), s(32), 3)
        self.Conv2d_2b_3x3 = BasicConv2d(s(32), s(64), 3, 1, 1)
        self.Conv2d_3b_1x1 = BasicConv2d(s(64), s(80), 1)
        self.Conv2d_4a_3x3 = BasicConv2d(s(80), s(192), 3)
        double = [(64, 1), (96, 3), (96, 3)]
        for name, before, pool in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
            chains = {"branch1x1": [(64, 1)], "branch5x5": [(48, 1), (64, 5)], "branch3x3dbl": double}
            self.add_module(f"Mixed_{name}", Block(s(before), chains | {"branch_pool": [(pool, 1)]}, "average", scale))
        chains = {"branch3x3": [(384, 3, 2)], "branch3x3dbl": [*double[:2], (96, 3, 2)]}
        self.Mixed_6a = Block(s(288), chains, "halve", scale)
        wide, tall = (1, 7), (7, 1)
        for name, c in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            chains = {
                "branch1x1": [(192, 1)],
                "branch7x7": [(c, 1), (c, wide), (192, tall)],
                "branch7x7dbl": [(c, 1), (c, tall), (c, wide), (c, tall), (192, wide)],
                "branch_pool": [(192, 1)],
            }
            self.add_module(f"Mixed_{name}", Block(s(768), chains, "average", scale))
        chains = {"branch3x3": [(192, 1), (320, 3, 2)], "branch7x7x3": [(192, 1), (192, wide), (192, tall), (192, 3, 2)]}
        self.Mixed_7a = Block(s(768), chains, "halve", scale)
        for name, before, pool in (("7b", 1280, "average"), ("7c", 2048, "max")):
            chains = {
                "branch1x1": [(320, 1)],
                "branch3x3ab": [(384, 1), (384, (1, 3))],
                "branch3x3dblab": [(448, 1), (384, 3), (384, (1, 3))],
                "branch_pool": [(192, 1)],
            }
            self.add_module(f"Mixed_{name}", Block(s(before), chains, pool, scale))
        self.fc = nn.Linear(s(2048), classes)

    def forward(self, images, size=299):
        """(pooled features, spatial features, logits, logits without bias) of images in [0, 1], channels second."""
        x = 2 * F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False) - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x))))
        spatial = x[:, :7].permute(0, 2, 3, 1).flatten(1)
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(self.Mixed_6e(x))))
        pool = x.mean((2, 3))
        return pool, spatial, self.fc(pool), pool @ self.fc.weight.T


def randomized(model):
    """Weights that keep the activations of order 1, and statistics that differ from 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda value: torch.randn(value.shape, generator=generator)  # noqa: E731
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith(("conv.weight", "fc.weight")):
                value.copy_(draw(value) * (2 / value[0].numel()) ** 0.5)
            elif name.endswith(("bn.bias", "running_mean", "fc.bias")):
                value.copy_(0.2 * draw(value))
            elif name.endswith(("bn.weight", "running_var")):
                value.copy_(1 + 0.2 * draw(value).clip(-2, 2))
    return model.eval()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def tiny():
    return randomized(Reference(TINY.width / 32, TINY.num_classes))


@pytest.fixture(scope="module")
def tiny_file(tiny, tmp_path_factory):
    """In the layout of the published file, which is older than torch 1.6."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(tiny.state_dict(), path, _use_new_zipfile_serialization=False)
    return path


def assert_same(model, config, variables, images):
    found = jax.jit(Inception(config).apply)(variables, images.astype(np.float32) / 255)
    with torch.no_grad():
        expected = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, config.image_size)
    for name, a, b in zip(found._fields, found, expected, strict=True):
        assert a.shape == b.shape, name
        assert b.std() > 0.1, f"{name} says nothing"
        np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("size", [(28, 28), (200, 150)], ids=["enlarged", "made smaller"])
def test_numbers(tiny, tiny_file, size):
    images = np.random.default_rng(0).integers(0, 256, (3, *size, 3)).astype(np.uint8)
    assert_same(tiny, TINY, inception.load(tiny_file, sha256(tiny_file), config=TINY), images)


def test_the_published_size():
    """torchvision states 23,834,568 parameters with 1,000 classes; 8 more classes have 2,049 each."""
    shapes = inception.variable_shapes(InceptionConfig())
    expected = {key: tuple(value.shape) for key, value in Reference().state_dict().items()}
    assert sum(int(np.prod(shape)) for path, shape in shapes.items() if path.startswith("params/")) == 23_834_568 + 8 * 2049
    rows = {row.theirs for row in inception.table(InceptionConfig()).rows}
    assert rows == {key for key in expected if not key.endswith("num_batches_tracked")}
    assert InceptionConfig().features == expected["fc.weight"][1] == 2048


def test_safetensors_hold_the_same(tiny, tiny_file, tmp_path):
    save_file(tiny.state_dict(), tmp_path / "weights.safetensors")
    found = inception.load(tmp_path / "weights.safetensors", sha256(tmp_path / "weights.safetensors"), config=TINY)
    expected = inception.load(tiny_file, sha256(tiny_file), config=TINY)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), found, expected))


def test_another_file_needs_its_hash(tiny_file):
    own = sha256(tiny_file)
    message = rf"\({tiny_file.stat().st_size:,} bytes\) has the SHA-256 {own}, but the published weights have 6726825d\w+\. If it"
    with pytest.raises(CheckpointError, match=message):
        inception.load(tiny_file, config=TINY)
    with pytest.raises(CheckpointError, match=f"has the SHA-256 {own}, but expected was {'0' * 64}"):
        inception.load(tiny_file, "0" * 64, config=TINY)
    with pytest.raises(CheckpointError, match="sha256 is '6726825d'; give all 64 hexadecimal digits"):
        inception.load(tiny_file, "6726825d", config=TINY)
    assert len(inception.SHA256) == 64 and inception.SHA256[:8] in inception.FILE


def test_a_file_that_does_not_fit_is_described(tiny_file, tmp_path):
    with pytest.raises(CheckpointError, match=r"wrong shape: fc.weight is \(11, 256\), expected \(1008, 2048\)"):
        inception.load(tiny_file, sha256(tiny_file))
    with pytest.raises(
        CheckpointError, match="cannot be read: No such file.*pt_inception-2015-12-05-6726825d.pth, of pytorch-fid"
    ):
        inception.load(tmp_path / "absent.pth")
    cut = tmp_path / "cut.pth"
    cut.write_bytes(tiny_file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="If it should be pt_inception.*download it again"):
        inception.load(cut)
    with pytest.raises(CheckpointError, match="is cut off or damaged"):
        inception.load(cut, sha256(cut), config=TINY)


def test_images_and_sizes_that_do_not_fit():
    with pytest.raises(ConfigError, match="images have 1 channels; Inception reads 3: repeat a grey one"):
        jax.eval_shape(Inception(TINY).init, jax.random.key(0), jax.ShapeDtypeStruct((1, 28, 28, 1), "float32"))
    for values, message in (
        ({"width": 3}, "must be a multiple of 2"),
        ({"image_size": 74}, "must be 75"),
        ({"num_classes": 0}, "1 or"),
    ):
        with pytest.raises(ConfigError, match=message):
            InceptionConfig(**values)
