"""The U-Net's options of DDPM++ against a network written for this test from Song et al., 2021, appendix H, and Karras et al.,
2022, appendix F: no code of the library but `UNet` itself."""

import dataclasses
import math

import jax
import numpy as np
import torch
from flax.traverse_util import unflatten_dict
from torch import nn
from torch.nn.functional import silu

from genjax.models.unet import UNet
from genjax.models.unet_sizes import UNET_SIZES

TOLERANCE = 1e-4  # of outputs of order 1


def make_norm(channels):
    return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-6)


class Block(nn.Module):
    def __init__(self, before, after, told, resample=None, attends=False):
        super().__init__()
        self.norm_1, self.norm_2 = make_norm(before), make_norm(after)
        self.conv_1, self.conv_2 = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
        self.time = nn.Linear(told, after)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after or resample else nn.Identity()
        self.resample = {"halve": nn.AvgPool2d(2), "double": nn.Upsample(scale_factor=2)}.get(resample, nn.Identity())
        self.attends = attends
        if attends:
            self.norm = make_norm(after)
            self.query, self.key, self.value, self.out = (nn.Linear(after, after) for _ in range(4))

    def forward(self, x, told):
        y = self.conv_1(self.resample(silu(self.norm_1(x)))) + self.time(told)[:, :, None, None]
        y = self.conv_2(silu(self.norm_2(y)))
        x = (self.shortcut(self.resample(x)) + y) * math.sqrt(0.5)
        if self.attends:
            tokens = self.norm(x).flatten(2).mT
            weights = torch.softmax(self.query(tokens) @ self.key(tokens).mT / math.sqrt(x.shape[1]), dim=-1)
            x = (x + self.out(weights @ self.value(tokens)).mT.reshape(x.shape)) * math.sqrt(0.5)
        return x


class DDPMPP(nn.Module):
    """`attend` holds the sizes of images at which blocks attend."""

    def __init__(self, size, channels, multiples, blocks, attend, labels, augmentations):
        super().__init__()
        told = 4 * channels
        self.channels, self.labels = channels, labels
        self.label = nn.Linear(labels, channels) if labels else None
        self.condition = nn.Linear(augmentations, channels, bias=False)
        self.time_1, self.time_2 = nn.Linear(channels, told), nn.Linear(told, told)
        self.conv_in = nn.Conv2d(3, channels, 3, padding=1)
        self.down, self.up = nn.ModuleDict(), nn.ModuleDict()
        width, kept = channels, [channels]
        for level, multiple in enumerate(multiples):
            if level:
                self.down[f"down_{level - 1}_halve"] = Block(width, width, told, "halve")
                kept.append(width)
            for number in range(blocks):
                self.down[f"down_{level}_{number}"] = Block(width, channels * multiple, told, attends=size >> level in attend)
                width = channels * multiple
                kept.append(width)
        self.up["middle_0"], self.up["middle_1"] = Block(width, width, told, attends=True), Block(width, width, told)
        for level in reversed(range(len(multiples))):
            after = channels * multiples[level]
            for number in range(blocks + 1):
                attends = number == blocks and size >> level in attend
                self.up[f"up_{level}_{number}"] = Block(width + kept.pop(), after, told, attends=attends)
                width = after
            if level:
                self.up[f"up_{level}_double"] = Block(width, width, told, "double")
        self.norm_out, self.conv_out = make_norm(width), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x, noise, one_hot, augmentation):
        half = self.channels // 2
        angles = noise[:, None] * 10_000.0 ** (-torch.arange(half) / (half - 1))
        told = torch.cat([angles.sin(), angles.cos()], 1) + self.condition(augmentation)
        if self.label:
            told = told + self.label(one_hot * math.sqrt(self.labels))
        told = silu(self.time_2(silu(self.time_1(told))))
        x = self.conv_in(x)
        kept = [x]
        for block in self.down.values():
            x = block(x, told)
            kept.append(x)
        for name, block in self.up.items():
            x = block(torch.cat([x, kept.pop()], 1) if name[:2] == "up" and "double" not in name else x, told)
        return self.conv_out(silu(self.norm_out(x)))


def as_ours(model):
    """The parameters of `UNet` that compute the same."""
    found = {}
    for key, value in model.state_dict().items():
        *path, part = key.removeprefix("down.").removeprefix("up.").split(".")
        value = value.numpy()
        if path[-1] in ("query", "key", "value", "out"):
            path = [f"{path[0]}_attention", "attention", path[-1]]
            if path[-1] == "out":
                value = value.T[None] if part == "weight" else value
            else:
                value = value.T[:, None] if part == "weight" else value[None]
        elif path[-1] == "norm":
            path = [f"{path[0]}_attention", "norm"]
        elif path[-1] in ("time_1", "time_2", "condition"):
            path = ["conditions", *path]
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
        elif value.ndim == 2 and part == "weight" and path[-1] not in ("query", "key", "value", "out"):
            value = value.T
        name = "bias" if part == "bias" else "scale" if "norm" in path[-1] else "kernel"
        found["/".join([*path, name])] = value
    if model.label:
        found.pop("label/kernel"), found.pop("label/bias")
        table = model.label.weight.mT * math.sqrt(model.labels) + model.label.bias
        found["conditions/classes/embedding"] = table.detach().numpy()
    return unflatten_dict(found, sep="/")


def test_one_pass_is_the_same():
    torch.manual_seed(0)
    model = DDPMPP(16, 16, (2, 2), 2, (8,), 5, 9)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.3)
    config = dataclasses.replace(UNET_SIZES["ddpmpp_cifar10"], widths=(32, 32), stem_width=16, blocks=2, num_classes=5)
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((3, 16, 16, 3), np.float32), np.asarray([-1.2, 0.1, 0.9], np.float32)
    classes, augmentation = np.asarray([0, 4, 2]), rng.standard_normal((3, 9), np.float32)
    given = (np.moveaxis(x, -1, 1).copy(), noise, np.eye(5, dtype=np.float32)[classes], augmentation)
    with torch.no_grad():
        expected = model(*(torch.from_numpy(value) for value in given)).numpy()
    found = jax.jit(UNet(config).apply)({"params": as_ours(model)}, x, noise, classes, condition=augmentation)
    assert np.abs(np.moveaxis(np.asarray(found), -1, 1) - expected).max() < TOLERANCE


def test_the_published_network_has_as_many_parameters():
    """Karras et al., 2022: 55.7M, of which 9 * 128 read how a picture was augmented."""
    with torch.device("meta"):
        model = DDPMPP(32, 128, (2, 2, 2), 4, (16,), 0, 9)
    shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, "float32")  # noqa: E731
    ours = jax.eval_shape(UNet(UNET_SIZES["ddpmpp_cifar10"]).init, jax.random.key(0), shape(1, 32, 32, 3), shape(1))
    count = sum(leaf.size for leaf in jax.tree.leaves(ours))
    assert count == sum(parameter.numel() for parameter in model.parameters()) == 55_733_891
