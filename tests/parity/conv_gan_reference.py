"""Convolutional GANs as they were published, in torch, under the names of the public code: pytorch/examples (dcgan),
pytorch-CycleGAN-and-pix2pix, xinntao/ESRGAN with BasicSR, torchvision (VGG)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

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
