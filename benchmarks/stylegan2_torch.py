"""The other side of benchmarks/stylegan2.py: StyleGAN2 in plain torch, as a worker, and what both sides read.

Written from the papers' formulas over the tensors of the public code, in the forms that were found fastest on a CPU: activations
are scaled, in place of a kernel for each example and a group for each; a filter is one depthwise convolution; channels last.
"""

import argparse
import copy
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

BATCHES = {"step": 4, "r1": 4, "path_length": 4, "generate": 8}
R1, R1_EVERY, PATH_LENGTH, PATH_LENGTH_EVERY, MIXING, TRUNCATION = 10.0, 16, 2.0, 4, 0.9, 0.7
MEMORY = torch.channels_last  # or torch.contiguous_format, for who wants to try it
FILTER = torch.outer(*[torch.tensor([1.0, 3, 3, 1]) / 8] * 2)[None, None]


class Size(NamedTuple):
    """What the tensors of a size do not tell."""

    pixels: int
    clamp: float | None
    group: int


SIZES = {"paper256": Size(256, 256.0, 8), "tiny": Size(32, None, 4)}


def inputs(size: str, batch: int) -> dict[str, np.ndarray]:
    """z, and images of bytes as [batch height width channels]."""
    rng, pixels = np.random.default_rng(1), SIZES[size].pixels
    z = rng.normal(size=(batch, 64 if size == "tiny" else 512)).astype(np.float32)
    return {"z": z, "image": rng.integers(0, 256, (batch, pixels, pixels, 3), np.uint8)}


def to_model(image: torch.Tensor) -> torch.Tensor:
    """Bytes, channels last, to [-1, 1], channels first."""
    return image.permute(0, 3, 1, 2).to(torch.float32, memory_format=MEMORY) / 127.5 - 1


def activate(x: torch.Tensor, clamp: float | None = None, gain: float = 1.0) -> torch.Tensor:
    y = F.leaky_relu(x, 0.2) * (math.sqrt(2) * gain)
    return y if clamp is None else y.clamp(-clamp * gain, clamp * gain)


def table(x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    return (gain * FILTER).to(x).expand(x.shape[1], 1, 4, 4)


def filtered(x: torch.Tensor, padding: int, stride: int = 1, gain: float = 1.0) -> torch.Tensor:
    return F.conv2d(x, table(x, gain), padding=padding, stride=stride, groups=x.shape[1])


def enlarged(x: torch.Tensor) -> torch.Tensor:
    return F.conv_transpose2d(x, table(x, 4), stride=2, padding=1, groups=x.shape[1])


class Layer(nn.Module):
    """A weight and, where the file has one, a bias."""

    def __init__(self, tensors: dict[str, torch.Tensor], name: str):
        super().__init__()
        self.weight = nn.Parameter(tensors[f"{name}.weight"])
        self.bias = nn.Parameter(tensors[f"{name}.bias"]) if f"{name}.bias" in tensors else None


class Dense(Layer):
    def forward(self, x: torch.Tensor, multiplier: float = 1.0) -> torch.Tensor:
        return F.linear(x, self.weight * (multiplier / math.sqrt(self.weight.shape[1])), self.bias * multiplier)


class Conv(Layer):
    """As the discriminator has them; reducing ones are filtered first."""

    def forward(self, x: torch.Tensor, down: bool = False) -> torch.Tensor:
        weight = self.weight / math.sqrt(self.weight[0].numel())
        if weight.shape[-1] == 1:
            return F.conv2d(filtered(x, 1, stride=2) if down else x, weight, self.bias)
        if down:
            return F.conv2d(filtered(x, 2), weight, self.bias, stride=2)
        return F.conv2d(x, weight, self.bias, padding=1)


class Modulated(Layer):
    """A convolution whose channels each example scales for itself; of size 1, to an image: not demodulated."""

    def __init__(self, tensors, name, clamp):
        super().__init__(tensors, name)
        self.affine, self.clamp = Dense(tensors, f"{name}.affine"), clamp
        if self.weight.shape[-1] > 1:
            self.strength = nn.Parameter(tensors[f"{name}.noise_strength"])
            self.register_buffer("noise", tensors[f"{name}.noise_const"])

    def forward(self, x: torch.Tensor, w: torch.Tensor, up: bool = False, random: bool = True) -> torch.Tensor:
        styles = self.affine(w)
        if self.weight.shape[-1] == 1:
            y = F.conv2d(x * (styles / math.sqrt(x.shape[1]))[:, :, None, None], self.weight, self.bias)
            return y if self.clamp is None else y.clamp(-self.clamp, self.clamp)
        scale = torch.rsqrt(styles.square() @ self.weight.square().sum((2, 3)).T + 1e-8)
        x = x * styles[:, :, None, None]
        if up:
            y = filtered(F.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2), 1, gain=4)
        else:
            y = F.conv2d(x, self.weight, padding=1)
        noise = torch.randn(len(y), 1, *y.shape[2:], device=y.device) if random else self.noise
        y = y * scale[:, :, None, None] + noise * self.strength + self.bias[:, None, None]
        return activate(y, self.clamp)


class Mapping(nn.Module):
    def __init__(self, tensors: dict[str, torch.Tensor]):
        super().__init__()
        count = sum(name.startswith("mapping.fc") and name.endswith("weight") for name in tensors)
        self.layers = nn.ModuleList(Dense(tensors, f"mapping.fc{layer}") for layer in range(count))
        self.register_buffer("mean", tensors["mapping.w_avg"])

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        w = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.layers:
            w = activate(layer(w, 0.01))
        return w


class Synthesis(nn.Module):
    def __init__(self, tensors: dict[str, torch.Tensor], size: Size):
        super().__init__()
        self.const = nn.Parameter(tensors["synthesis.b4.const"])
        blocks = []
        for level in range(2, size.pixels.bit_length()):
            names = ("conv1", "torgb") if level == 2 else ("conv0", "conv1", "torgb")
            blocks.append(nn.ModuleDict({n: Modulated(tensors, f"synthesis.b{2**level}.{n}", size.clamp) for n in names}))
        self.blocks = nn.ModuleList(blocks)
        self.styles = 2 * len(blocks)

    def forward(self, ws: torch.Tensor, random: bool = True) -> torch.Tensor:
        x, image, at = self.const.expand(len(ws), -1, -1, -1).contiguous(memory_format=MEMORY), None, 0
        for block in self.blocks:
            if "conv0" in block:
                x, image, at = block["conv0"](x, ws[:, at], True, random), enlarged(image), at + 1
            x, at = block["conv1"](x, ws[:, at], False, random), at + 1
            y = block["torgb"](x, ws[:, at])
            image = y if image is None else image + y
        return image


class Discriminator(nn.Module):
    def __init__(self, tensors: dict[str, torch.Tensor], size: Size):
        super().__init__()
        self.clamp, self.group = size.clamp, size.group
        self.fromrgb = Conv(tensors, f"b{size.pixels}.fromrgb")
        resolutions = [2**level for level in range(size.pixels.bit_length() - 1, 2, -1)]
        self.blocks = nn.ModuleList(
            nn.ModuleDict({name: Conv(tensors, f"b{resolution}.{name}") for name in ("conv0", "conv1", "skip")})
            for resolution in resolutions
        )
        self.conv, self.fc, self.out = Conv(tensors, "b4.conv"), Dense(tensors, "b4.fc"), Dense(tensors, "b4.out")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x, gain = activate(self.fromrgb(images), self.clamp), math.sqrt(0.5)
        for block in self.blocks:
            y = block["conv1"](activate(block["conv0"](x), self.clamp), down=True)
            x = activate(y, self.clamp, gain) + gain * block["skip"](x, down=True)
        group = min(self.group, len(x))
        y = x.reshape(group, -1, *x.shape[1:])
        deviation = ((y - y.mean(0)).square().mean(0) + 1e-8).sqrt().mean((1, 2, 3)).repeat(group)
        x = torch.cat([x, deviation[:, None, None, None].expand(-1, 1, 4, 4)], 1)
        x = activate(self.conv(x), self.clamp)
        return self.out(activate(self.fc(x.flatten(1))))[:, 0]


def lazy_adam(module: nn.Module, every: int) -> torch.optim.Adam:
    share = every / (every + 1)
    return torch.optim.Adam(module.parameters(), 2e-3 * share, betas=(0.0, 0.99**share), fused=True)


class Run:
    """Both players of a folder, what trains them, and the turns."""

    def __init__(self, folder: Path, size: str, compiled: bool = False, device: str = "cpu"):
        first, second = (load_file(folder / f"{part}.safetensors", device) for part in ("generator", "discriminator"))
        self.mapping, self.synthesis = Mapping(first), Synthesis(first, SIZES[size]).to(memory_format=MEMORY)
        self.discriminator = Discriminator(second, SIZES[size]).to(memory_format=MEMORY)
        self.generator, self.device = nn.ModuleList([self.mapping, self.synthesis]), device
        self.average, self.length = copy.deepcopy(self.generator), torch.zeros((), device=device)
        made = torch.compile if compiled else lambda function: function
        self.map, self.make, self.judge = made(self.mapping), made(self.synthesis), made(self.discriminator)
        self.slopes_of, self.lengths_of = made(self.slopes), made(self.lengths)
        self.generator_adam = lazy_adam(self.generator, PATH_LENGTH_EVERY)
        self.discriminator_adam = lazy_adam(self.discriminator, R1_EVERY)

    def styles(self, count: int) -> torch.Tensor:
        """Of latents that are drawn, mixed as often as `MIXING` says, and the mean of w moved."""
        layers = self.synthesis.styles
        z, other = torch.randn(2, count, self.mapping.layers[0].weight.shape[1], device=self.device)
        w = self.map(z)
        self.mapping.mean.lerp_(w.detach().mean(0), 0.005)
        first = int(torch.randint(1, layers, ())) if torch.rand(()) < MIXING else layers
        return torch.cat([w[:, None].expand(-1, first, -1), self.map(other)[:, None].expand(-1, layers - first, -1)], 1)

    def slopes(self, images: torch.Tensor) -> torch.Tensor:
        """Squared, of each image."""
        return torch.func.grad(lambda x: self.discriminator(x).sum())(images).square().sum((1, 2, 3))

    def lengths(self, ws: torch.Tensor, direction: torch.Tensor, random: bool = True) -> torch.Tensor:
        """Of paths; `direction` is normal."""
        scaled = direction / math.sqrt(direction.shape[2] * direction.shape[3])
        slopes = torch.func.grad(lambda ws: (self.synthesis(ws, random) * scaled).sum())(ws)
        return (slopes.square().sum(2).mean(1) + 1e-12).sqrt()

    def update(self, adam: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()

    def step(self, real: torch.Tensor) -> None:
        """A turn of each player, and the average."""
        with torch.no_grad():
            fake = self.make(self.styles(len(real)))
        logits = self.judge(to_model(real)), self.judge(fake)
        self.update(self.discriminator_adam, F.softplus(-logits[0]).mean() + F.softplus(logits[1]).mean())
        self.discriminator.requires_grad_(False)
        logits = self.judge(self.make(self.styles(len(real))))
        self.update(self.generator_adam, F.softplus(-logits).mean())
        self.discriminator.requires_grad_(True)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - 0.5 ** (32 / 10_000))

    def r1(self, real: torch.Tensor) -> None:
        penalty = 0.5 * self.slopes_of(to_model(real)).mean()
        self.update(self.discriminator_adam, R1 * R1_EVERY * penalty)

    def path_length(self, real: torch.Tensor) -> None:
        count = len(real) // 2
        direction = torch.randn(count, 3, *real.shape[1:3], device=self.device)
        lengths = self.lengths_of(self.styles(count), direction)
        mean = self.length.lerp(lengths.mean(), 0.01)
        self.length = mean.detach()
        self.update(self.generator_adam, PATH_LENGTH * PATH_LENGTH_EVERY * (lengths - mean).square().mean())

    @torch.no_grad()
    def generate(self, real: torch.Tensor) -> None:
        z = torch.randn(len(real), self.mapping.layers[0].weight.shape[1], device=self.device)
        w = self.mapping.mean + TRUNCATION * (self.map(z) - self.mapping.mean)
        images = self.make(w[:, None].expand(-1, self.synthesis.styles, -1), False)
        ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def outputs(folder: Path, size: str, direction: np.ndarray) -> dict[str, np.ndarray]:
    """What is compared: images of z by constant noise, the logits and slopes of given images, and the lengths of paths.

    Args:
        direction: of these paths, channels last.
    """
    run, given = Run(folder, size), inputs(size, len(direction))
    real = to_model(torch.tensor(given["image"]))
    ws = run.mapping(torch.tensor(given["z"]))[:, None].expand(-1, run.synthesis.styles, -1)
    found = {
        "images": run.synthesis(ws, False).permute(0, 2, 3, 1),
        "logits": run.discriminator(real),
        "slopes": run.slopes(real),
        "lengths": run.lengths(ws, torch.tensor(direction).permute(0, 3, 1, 2), False),
    }
    return {name: value.detach().numpy() for name, value in found.items()}


if __name__ == "__main__":
    from ab import serve

    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=list(BATCHES))
    parser.add_argument("--weights", required=True)
    parser.add_argument("--size", choices=list(SIZES), required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")  # on a GPU as XLA does it, and as convolutions are in any case
    run = Run(Path(options.weights), options.size, options.compile, device)
    real = torch.tensor(inputs(options.size, options.batch)["image"], device=device)

    def step() -> None:
        getattr(run, options.kind)(real)
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(2):
        step()
    serve(step)
