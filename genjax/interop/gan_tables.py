"""The names of convolutional GANs in their public torch code, and the configs that the tensors' shapes tell.

DCGAN: torch's example (github.com/pytorch/examples, dcgan). PatchGAN, pix2pix, CycleGAN: pytorch-CycleGAN-and-pix2pix. ESRGAN:
xinntao/ESRGAN (names of 2018) and BasicSR with Real-ESRGAN (names since 2020). VGG: torchvision. A place in a Sequential is a
number, and what has no parameters (activations, padding, dropout) takes one too. All of these functions speak of paths within
the variables: they begin with the collection.
"""

import re
from collections.abc import Mapping

from genjax.errors import CheckpointError
from genjax.interop.names import Row, Table
from genjax.interop.rows import batch_norm, norm
from genjax.interop.transforms import Transpose
from genjax.models import patchgan, vgg
from genjax.models.cyclegan import CycleGANConfig
from genjax.models.dcgan import DCGANConfig
from genjax.models.esrgan import ESRGANConfig
from genjax.models.patchgan import PatchGANConfig
from genjax.models.pix2pix import Pix2PixConfig
from genjax.models.vgg import VGGConfig

# What a state dict of DataParallel begins with; and spectral norms as torch named their tensors before parametrizations.
COMMON_RENAMES = (
    (r"^module\.", ""),
    (r"\.weight_orig$", ".parametrizations.weight.original"),
    (r"\.weight_([uv])$", r".parametrizations.weight.0._\1"),
)
# An instance norm without parameters had statistics in old versions of torch; nothing was ever done with them.
_COUNTERS = (r".*\.num_batches_tracked",)
_STATISTICS = (*_COUNTERS, r".*\.running_(mean|var)")
_CONV, _TRANSPOSED = (2, 3, 1, 0), (2, 3, 0, 1)


class Shapes(dict[str, tuple[int, ...]]):
    """Shapes of tensors by key. A missing one is an error that says what the file was taken for."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], what: str, where: str):
        super().__init__(shapes)
        self.what, self.where = what, where

    def __missing__(self, key: str) -> tuple[int, ...]:
        raise CheckpointError(f"{self.where} has no {key}, by which a {self.what} is told: is it one? It holds {_few(self)}.")

    def axes(self, key: str, count: int) -> tuple[int, ...]:
        """A shape, checked to have so many axes."""
        if len(self[key]) != count:
            raise CheckpointError(f"{self.where}: {key} is {self[key]}; as a part of a {self.what} it has {count} axes.")
        return self[key]


def _few(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join([*list(shapes)[:5], "..."] if len(shapes) > 5 else shapes) or "no tensors"


def _conv(
    theirs: str, ours: str, *, bias: bool = True, spectral: bool = False, axes: tuple[int, ...] = _CONV, layers: int = 0
) -> list[Row]:
    kernel = f"{theirs}.parametrizations.weight.original" if spectral else f"{theirs}.weight"
    rows = [Row(kernel, (f"params/{ours}/kernel",), Transpose(axes), layers)]
    if bias:
        rows.append(Row(f"{theirs}.bias", (f"params/{ours}/bias",), layers=layers))
    if spectral:
        rows += [Row(f"{theirs}.parametrizations.weight.0._{v}", (f"spectral/{ours}/norm/{v}",)) for v in "uv"]
    return rows


def _norm(kind: str, theirs: str, ours: str) -> list[Row]:
    if kind == "batch":
        return batch_norm(theirs, ours)
    return norm(theirs, f"params/{ours}") if kind == "layer" else []


def _count(shapes: Shapes, pattern: str, step: int, first: int = 0) -> int:
    """How many tensors of four axes there are at the places `first`, `first` + `step`, ... of a Sequential."""
    count = 0
    while len(shapes.get(pattern.format(first + step * count), ())) == 4:
        count += 1
    return count


def _places(shapes: Shapes, pattern: str) -> list[int]:
    """The numbers that a pattern over whole keys finds, each once, in order."""
    return sorted({int(match[1]) for key in shapes if (match := re.fullmatch(pattern, key))})


def dcgan_generator(config: DCGANConfig) -> Table:
    rows, step = [], 2 if config.norm == "none" else 3
    for i in range(config.doublings + 1):
        rows += _conv(f"main.{step * i}", f"conv_{i}", bias=config.norm == "none", axes=_TRANSPOSED)
        rows += _norm(config.norm, f"main.{step * i + 1}", f"norm_{i}") if i < config.doublings else []
    return Table(tuple(rows), ignored=_COUNTERS)


def dcgan_generator_config(shapes: Shapes) -> DCGANConfig:
    step = 3 if len(shapes.get("main.1.weight", ())) == 1 else 2
    count = _count(shapes, "main.{}.weight", step)
    first, last = shapes.axes("main.0.weight", 4), shapes.axes(f"main.{step * max(1, count - 1)}.weight", 4)
    return DCGANConfig(
        image_size=4 << (count - 1),
        channels=last[1],
        latent=first[0],
        width=last[0],
        norm="batch" if "main.1.running_mean" in shapes else "layer" if step == 3 else "none",
    )


def dcgan_discriminator(config: DCGANConfig) -> Table:
    kind, rows = config.discriminator_norm, []
    bare = kind in ("none", "spectral")
    for i in range(config.doublings + 1):
        place = 2 * i if bare or not i else 3 * i - 1
        rows += _conv(f"main.{place}", f"conv_{i}", bias=bare, spectral=kind == "spectral")
        rows += _norm(kind, f"main.{place + 1}", f"norm_{i}") if 0 < i < config.doublings else []
    return Table(tuple(rows), ignored=_COUNTERS)


def dcgan_discriminator_config(shapes: Shapes) -> DCGANConfig:
    key = _kernel_key(shapes, "main.0")
    first, bare = shapes.axes(key, 4), "main.0.bias" in shapes
    count = 1 + (_count(shapes, key.replace("main.0", "main.{}"), 2, 2) if bare else _count(shapes, "main.{}.weight", 3, 2))
    if bare:
        kind = "none" if key == "main.0.weight" else "spectral"
    else:  # of 8x8 pixels there is no norm that could tell
        kind = "batch" if "main.3.running_mean" in shapes or count < 3 else "layer"
    return DCGANConfig(
        image_size=4 << max(1, count - 1), channels=first[1], discriminator_width=first[0], discriminator_norm=kind
    )


def _kernel_key(shapes: Shapes, theirs: str) -> str:
    spectral = f"{theirs}.parametrizations.weight.original"
    return spectral if spectral in shapes else f"{theirs}.weight"


def patch_discriminator(config: PatchGANConfig) -> Table:
    """`model` with its layers, or `net` with its pixels. Without norms, or with spectral ones, the Sequential has no places for
    norms."""
    c, rows, place = config, [], 0
    name, convolutions = "model" if c.layers else "net", patchgan.convolutions(c)
    for i in range(len(convolutions)):
        options = {"bias": patchgan.has_bias(c, i), "spectral": c.norm == "spectral"}
        rows += _conv(f"{name}.{place}", f"conv_{i}", **options)
        if 0 < i < len(convolutions) - 1:
            rows += _norm(c.norm, f"{name}.{place + 1}", f"norm_{i}")
        place += 3 if i and c.norm in ("batch", "instance") else 2
    return Table(tuple(rows), ignored=_COUNTERS if c.norm == "batch" else _STATISTICS)


def patch_discriminator_config(shapes: Shapes) -> PatchGANConfig:
    name = "net" if any(key.startswith("net.") for key in shapes) else "model"
    key = _kernel_key(shapes, f"{name}.0")
    first = shapes.axes(key, 4)
    bare = len(shapes.get(_kernel_key(shapes, f"{name}.4"), ())) == 4
    if bare:
        kind = "none" if key.endswith(".weight") else "spectral"
    else:
        kind = "batch" if len(shapes.get(f"{name}.3.weight", ())) == 1 else "instance"
    pattern = key.replace(f"{name}.0", f"{name}.{{}}")
    count = 1 + _count(shapes, pattern, 2 if bare else 3, 2)
    if name == "model" and count < 3:
        raise CheckpointError(f"{shapes.where} has {count} convolutions one after another; a {shapes.what} has 3 or more.")
    return PatchGANConfig(channels=first[1], width=first[0], layers=0 if name == "net" else count - 2, norm=kind)


def pix2pix(config: Pix2PixConfig) -> Table:
    """Each level lies within the one above it: behind its convolution (and norm), before its way up."""
    c, rows, prefix = config, [], "model.model"
    bias, last = c.norm != "batch", config.levels - 1
    for level in range(c.levels):
        down, up = {0: (0, 3), last: (1, 3)}.get(level, (1, 5))
        rows += _conv(f"{prefix}.{down}", f"down_{level}", bias=bias)
        rows += _conv(f"{prefix}.{up}", f"up_{level}", bias=bias or not level, axes=_TRANSPOSED)
        if level:
            rows += _norm(c.norm, f"{prefix}.{up + 1}", f"up_{level}_norm")
        if 0 < level < last:
            rows += _norm(c.norm, f"{prefix}.{down + 1}", f"down_{level}_norm")
        prefix += ".3.model" if level else ".1.model"
    return Table(tuple(rows), ignored=_COUNTERS if c.norm == "batch" else _STATISTICS)


def pix2pix_config(shapes: Shapes) -> Pix2PixConfig:
    prefix, levels = "model.model.1.model", 2
    while f"{prefix}.5.weight" in shapes:
        prefix, levels = f"{prefix}.3.model", levels + 1
    first, last = shapes.axes("model.model.0.weight", 4), shapes.axes("model.model.3.weight", 4)
    return Pix2PixConfig(
        in_channels=first[1],
        out_channels=last[1],
        levels=levels,
        width=first[0],
        norm="batch" if f"{prefix}.4.weight" in shapes else "instance",
    )


def cyclegan(config: CycleGANConfig) -> Table:
    c, bias = config, config.norm != "batch"
    rows = [*_conv("model.1", "stem", bias=bias), *_norm(c.norm, "model.2", "stem_norm")]
    place = 4
    for level in range(c.levels):
        rows += _conv(f"model.{place}", f"down_{level}", bias=bias)
        rows += _norm(c.norm, f"model.{place + 1}", f"down_{level}_norm")
        place += 3
    for i in range(c.blocks):
        second = 6 if c.dropout else 5
        for number, inside in ((1, 1), (2, second)):
            rows += _conv(f"model.{place}.conv_block.{inside}", f"block_{i}/conv_{number}", bias=bias)
            rows += _norm(c.norm, f"model.{place}.conv_block.{inside + 1}", f"block_{i}/norm_{number}")
        place += 1
    for level in reversed(range(c.levels)):
        rows += _conv(f"model.{place}", f"up_{level}", bias=bias, axes=_TRANSPOSED)
        rows += _norm(c.norm, f"model.{place + 1}", f"up_{level}_norm")
        place += 3
    rows += _conv(f"model.{place + 1}", "out")
    return Table(tuple(rows), ignored=_COUNTERS if c.norm == "batch" else _STATISTICS)


def cyclegan_config(shapes: Shapes) -> CycleGANConfig:
    first = shapes.axes("model.1.weight", 4)
    inside = _places(shapes, r"model\.(\d+)\.conv_block\..*")
    plain = [i for i in _places(shapes, r"model\.(\d+)\.weight") if len(shapes[f"model.{i}.weight"]) == 4]
    drops = bool(inside) and len(shapes.get(f"model.{inside[0]}.conv_block.6.weight", ())) == 4
    return CycleGANConfig(
        in_channels=first[1],
        out_channels=shapes[f"model.{plain[-1]}.weight"][0],
        width=first[0],
        levels=max(1, (len(plain) - 2) // 2),
        blocks=len(inside),
        norm="batch" if "model.2.weight" in shapes else "instance",
        dropout=0.5 if drops else 0.0,
    )


# Names of 2018, and those before them, in which every layer has a place in a Sequential.
ESRGAN_RENAMES = (
    (r"^model\.0\.", "conv_first."),
    (r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."),
    (r"^model\.1\.sub\.\d+\.(weight|bias)$", r"conv_body.\1"),
    *((rf"^model\.{i}\.", f"{name}.") for i, name in ((3, "conv_up1"), (6, "conv_up2"), (8, "conv_hr"), (10, "conv_last"))),
    (r"^RRDB_trunk\.(\d+)\.RDB", r"body.\1.rdb"),
    (r"^trunk_conv\.", "conv_body."),
    (r"^upconv([12])\.", r"conv_up\1."),
    (r"^HRconv\.", "conv_hr."),
)


def esrgan(config: ESRGANConfig) -> Table:
    rows = []
    for name in ("conv_first", "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"):
        rows += _conv(name, name)
    for dense in (1, 2, 3):
        for i in range(1, 6):
            ours = f"blocks_{{layer}}/dense_{dense}_conv_{i}"
            rows += _conv(f"body.{{layer}}.rdb{dense}.conv{i}", ours, layers=config.blocks)
    return Table(tuple(rows), renames=ESRGAN_RENAMES)


def esrgan_2018_name(name: str) -> str:
    """Under what name a tensor was known in xinntao/ESRGAN."""
    name = name.replace("body.", "RRDB_trunk.", 1).replace(".rdb", ".RDB") if name.startswith("body.") else name
    return name.replace("conv_body", "trunk_conv").replace("conv_up", "upconv").replace("conv_hr", "HRconv")


def esrgan_config(shapes: Shapes) -> ESRGANConfig:
    first, last = shapes.axes("conv_first.weight", 4), shapes.axes("conv_last.weight", 4)
    ratio = {1: 4, 4: 2, 16: 1}
    if first[1] % last[0] or first[1] // last[0] not in ratio:
        raise CheckpointError(
            f"{shapes.where} reads {first[1]} channels and writes {last[0]}; a {shapes.what} reads 1, 4 or 16 times as many."
        )
    return ESRGANConfig(
        channels=last[0],
        scale=ratio[first[1] // last[0]],
        width=first[0],
        growth=shapes.axes("body.0.rdb1.conv1.weight", 4)[0],
        blocks=len(_places(shapes, r"body\.(\d+)\..*")),
    )


def vgg_features(config: VGGConfig) -> Table:
    """torchvision's `features` up to the deepest of the config's layers. What lies behind it, and the classifier, is left out."""
    used = vgg.used_layers(config)
    deeper = [layer.index for layer in vgg.every_layer(config.depth)[len(used) :]]
    ignored = (r"classifier\..*", *(rf"features\.{index}\.(weight|bias)" for index in deeper))
    return Table(tuple(row for layer in used for row in _conv(f"features.{layer.index}", f"conv{layer.name}")), ignored)


def vgg_config(shapes: Shapes) -> VGGConfig:
    first = shapes.axes("features.0.weight", 4)
    last = _places(shapes, r"features\.(\d+)\..*")[-1]
    return VGGConfig(depth=19 if last > vgg.every_layer(16)[-1].index else 16, width=first[0])
