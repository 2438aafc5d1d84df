"""StyleGAN2 written down once more, in torch and float64, over the names of the public code: a kernel for each example, images
filtered as sums of shifted images, nothing joined. `networks.py` of stylegan2-ada-pytorch is what it follows."""

import math

import torch
import torch.nn.functional as F


def resolutions(size):
    return [2**level for level in range(2, int(math.log2(size)) + 1)]


def generator_shapes(size, widths, z=512, w=512, layers=8, classes=0, colors=3, kind="skip"):
    """Name -> shape of every tensor of a state dict, parameters and buffers apart."""
    parameters, buffers = {}, {"mapping.w_avg": (w,)}

    def dense(name, before, after):
        parameters.update({f"{name}.weight": (after, before), f"{name}.bias": (after,)})

    if classes:
        dense("mapping.embed", classes, w)
    for layer in range(layers):
        dense(f"mapping.fc{layer}", (z + (w if classes else 0)) if layer == 0 else w, w)
    for res in resolutions(size):
        block, width = f"synthesis.b{res}", widths[res]
        buffers[f"{block}.resample_filter"] = (4, 4)
        if res == 4:
            parameters[f"{block}.const"] = (width, 4, 4)
        for name, before in (("conv0", widths.get(res // 2)), ("conv1", width)):
            if before is None:
                continue
            dense(f"{block}.{name}.affine", w, before)
            parameters |= {f"{block}.{name}.weight": (width, before, 3, 3), f"{block}.{name}.bias": (width,)}
            parameters[f"{block}.{name}.noise_strength"] = ()
            buffers |= {f"{block}.{name}.noise_const": (res, res), f"{block}.{name}.resample_filter": (4, 4)}
        if res == size or kind == "skip":
            dense(f"{block}.torgb.affine", w, width)
            parameters |= {f"{block}.torgb.weight": (colors, width, 1, 1), f"{block}.torgb.bias": (colors,)}
        if res > 4 and kind == "resnet":
            parameters[f"{block}.skip.weight"] = (width, widths[res // 2], 1, 1)
            buffers[f"{block}.skip.resample_filter"] = (4, 4)
    return parameters, buffers


def discriminator_shapes(size, widths, classes=0, layers=8, deviations=1, colors=3, kind="resnet"):
    parameters, buffers = {}, {}

    def conv(name, before, after, places, bias=True):
        parameters[f"{name}.weight"] = (after, before, places, places)
        buffers[f"{name}.resample_filter"] = (4, 4)
        if bias:
            parameters[f"{name}.bias"] = (after,)

    for res in reversed(resolutions(size)):
        block, width = f"b{res}", widths[res]
        if res == size or kind == "skip":
            conv(f"{block}.fromrgb", colors, width, 1)
        if res > 4:
            buffers[f"{block}.resample_filter"] = (4, 4)
            conv(f"{block}.conv0", width, width, 3)
            conv(f"{block}.conv1", width, widths[res // 2], 3)
            if kind == "resnet":
                conv(f"{block}.skip", width, widths[res // 2], 1, bias=False)
    width = widths[4]
    conv("b4.conv", width + deviations, width, 3)
    dense = {"b4.fc": (width, 16 * width), "b4.out": (width if classes else 1, width)}
    if classes:
        dense["mapping.embed"] = (width, classes)
        dense |= {f"mapping.fc{layer}": (width, width) for layer in range(layers)}
    for name, shape in dense.items():
        parameters |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return parameters, buffers


def draw(shapes, seed=0):
    """Values of which none is what it is at first; filters are those of the public code."""
    generator = torch.Generator().manual_seed(seed)
    values = {}
    for name, shape in shapes.items():
        values[name] = torch.randn(shape, generator=generator, dtype=torch.float64)
        if name.endswith("resample_filter"):
            values[name] = torch.outer(*[torch.tensor([1.0, 3, 3, 1], dtype=torch.float64) / 8] * 2)
        elif name.startswith("mapping.fc"):
            values[name] = values[name] * (100 if name.endswith("weight") else 20)
        elif name.endswith("affine.bias"):
            values[name] = 1 + 0.3 * values[name]
        elif name.endswith(("bias", "noise_strength")):
            values[name] = 0.3 * values[name]
    return {name: value.float().double() for name, value in values.items()}


def fir(x, table, up=1, down=1, pads=(0, 0), gain=1.0):
    batch, channels, height, width = x.shape
    big = x.new_zeros(batch, channels, height, up, width, up)
    big[:, :, :, 0, :, 0] = x
    big = F.pad(big.reshape(batch, channels, height * up, width * up), (*pads, *pads))
    size = len(table)
    rows, columns = (length - size + 1 for length in big.shape[2:])
    y = 0
    for i in range(size):
        for j in range(size):
            y = y + table[size - 1 - i, size - 1 - j] * big[:, :, i : i + rows, j : j + columns]
    return gain * y[:, :, ::down, ::down]


def lrelu(x, gain=1.0, clamp=None):
    y = F.leaky_relu(x, 0.2) * math.sqrt(2) * gain
    return y if clamp is None else y.clamp(-clamp * gain, clamp * gain)


def dense(s, name, x, multiplier=1.0):
    weight, bias = s[f"{name}.weight"], s[f"{name}.bias"]
    return F.linear(x, weight * (multiplier / math.sqrt(weight.shape[1])), bias * multiplier)


def normalize(x):
    return x / torch.sqrt((x**2).mean(1, keepdim=True) + 1e-8)


def mapping(s, z, classes):
    parts = [] if z is None else [normalize(z)]
    if classes is not None:
        parts.append(normalize(dense(s, "mapping.embed", classes)))
    x, layer = torch.cat(parts, 1), 0
    while f"mapping.fc{layer}.weight" in s:
        x, layer = lrelu(dense(s, f"mapping.fc{layer}", x, 0.01)), layer + 1
    return x


def truncate(s, ws, psi, cutoff):
    ws = ws.clone()
    ws[:, :cutoff] = s["mapping.w_avg"] + psi * (ws[:, :cutoff] - s["mapping.w_avg"])
    return ws


def modulated(x, weight, styles, up, demodulate, table):
    """The kernel of each example by itself, and one group for each."""
    batch, features = len(x), weight.shape[0]
    kernels = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        kernels = kernels / torch.sqrt((kernels**2).sum((2, 3, 4), keepdim=True) + 1e-8)
    half = weight.shape[-1] // 2
    x = x.reshape(1, -1, *x.shape[2:])
    if up == 1:
        y = F.conv2d(x, kernels.flatten(0, 1), padding=half, groups=batch)
    else:
        y = F.conv_transpose2d(x, kernels.transpose(1, 2).flatten(0, 1), stride=2, groups=batch)
        y = fir(y, table, pads=(1, 1), gain=4)
    return y.reshape(batch, features, *y.shape[2:])


def synthesis(s, ws, noise="const", kind="skip", clamp=None):
    size = max(int(name.split(".")[1][1:]) for name in s if name.startswith("synthesis."))
    table, image, at = s["synthesis.b4.resample_filter"], None, 0

    def layer(name, x, w, up=1, gain=1.0):
        x = modulated(x, s[f"{name}.weight"], dense(s, f"{name}.affine", w), up, True, table)
        if noise == "const":
            x = x + s[f"{name}.noise_const"] * s[f"{name}.noise_strength"]
        return lrelu(x + s[f"{name}.bias"][:, None, None], gain, clamp)

    for res in resolutions(size):
        block = f"synthesis.b{res}"
        gain = math.sqrt(0.5) if kind == "resnet" and res > 4 else 1.0
        if res == 4:
            x = s[f"{block}.const"].expand(len(ws), -1, -1, -1)
        else:
            before = x
            x, at = layer(f"{block}.conv0", x, ws[:, at], up=2), at + 1
        x, at = layer(f"{block}.conv1", x, ws[:, at], gain=gain), at + 1
        if gain != 1:
            weight = s[f"{block}.skip.weight"]
            y = F.conv2d(before, weight / math.sqrt(weight.shape[1]))
            x = x + gain * fir(y, table, up=2, pads=(2, 1), gain=4)
        if image is not None:
            image = fir(image, table, up=2, pads=(2, 1), gain=4)
        if res == size or kind == "skip":
            styles = dense(s, f"{block}.torgb.affine", ws[:, at]) / math.sqrt(x.shape[1])
            y = modulated(x, s[f"{block}.torgb.weight"], styles, 1, False, table) + s[f"{block}.torgb.bias"][:, None, None]
            y = y if clamp is None else y.clamp(-clamp, clamp)
            image = y if image is None else image + y
    return image


def deviation(x, group, channels):
    batch, width, rows, columns = x.shape
    y = x.reshape(min(group, batch), -1, channels, width // channels, rows, columns)
    y = torch.sqrt(((y - y.mean(0)) ** 2).mean(0) + 1e-8).mean((2, 3, 4))
    return torch.cat([x, y.repeat(min(group, batch), 1)[:, :, None, None].expand(-1, -1, rows, columns)], 1)


def discriminate(s, images, classes=None, kind="resnet", group=4, deviations=1, clamp=None):
    size = images.shape[-1]
    table = s[f"b{size}.resample_filter"]

    def conv(name, x, gain=1.0, down=1, bound=clamp):
        weight = s[f"{name}.weight"]
        weight = weight / math.sqrt(weight[0].numel())
        if down == 1:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        elif weight.shape[-1] == 1:
            x = F.conv2d(fir(x, table, down=2, pads=(1, 1)), weight)
        else:
            x = F.conv2d(fir(x, table, pads=(2, 2)), weight, stride=2)
        if f"{name}.bias" not in s:
            return x * gain
        return lrelu(x + s[f"{name}.bias"][:, None, None], gain, bound)

    x = None
    for res in reversed(resolutions(size)[1:]):
        if x is None or kind == "skip":
            y = conv(f"b{res}.fromrgb", images)
            x = y if x is None else x + y
            images = fir(images, table, down=2, pads=(1, 1))
        gain = math.sqrt(0.5) if kind == "resnet" else 1.0
        y = conv(f"b{res}.conv1", conv(f"b{res}.conv0", x), gain, 2)
        x = y + conv(f"b{res}.skip", x, gain, 2) if kind == "resnet" else y
    if kind == "skip":
        x = x + conv("b4.fromrgb", images, bound=None)
    x = conv("b4.conv", deviation(x, group, deviations) if deviations else x)
    x = dense(s, "b4.out", lrelu(dense(s, "b4.fc", x.flatten(1))))
    if classes is None:
        return x[:, 0]
    return (x * mapping(s, None, classes)).sum(1) / math.sqrt(x.shape[1])
