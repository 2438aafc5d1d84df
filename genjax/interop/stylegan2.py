"""StyleGAN2 in the layout of the public code in torch (stylegan2-ada-pytorch), as safetensors.

A generator's names begin with `mapping.` and `synthesis.b4.`, a discriminator's with `b4.`, `b8.` and so on. Beside parameters
there are buffers: the average of w and constant noise, which are variables here, and a copy of the filter in every layer.

Published networks are pickles that bring their own code, and are never loaded: in an environment that has it, write
`safetensors.torch.save_file({k: v.contiguous() for k, v in G_ema.state_dict().items()}, "generator.safetensors")`.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax.core import meta
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Sharding

from genjax.errors import CheckpointError
from genjax.interop import folders, lazy, names, safetensors_io
from genjax.interop.lazy import LazyArray
from genjax.interop.names import Row, Table
from genjax.interop.place import place
from genjax.interop.rows import convolution, linear
from genjax.interop.transforms import Chain, Split, Transpose
from genjax.layers.resample import setup_filter
from genjax.models.style_config import StyleGAN2Config
from genjax.models.style_discriminator import StyleDiscriminator
from genjax.models.style_generator import AVERAGE, NOISE_IMAGES, StyleGenerator

Part = Literal["generator", "discriminator"]

_KERNEL = Transpose((2, 3, 1, 0))
_FILTER = re.compile(r"(.*\.)?resample_filter")


def load(
    path: str | Path, part: Part, base: StyleGAN2Config | None = None, sharding: Sharding | None = None
) -> tuple[StyleGAN2Config, dict[str, Any]]:
    """The config and variables of one network: `StyleGenerator(config).apply(variables, z)`, or `StyleDiscriminator`.

    Args:
        path: a safetensors file, or a folder with `generator.safetensors` or `discriminator.safetensors`.
        part: which network it is.
        base: what the tensors' shapes do not tell: what the other network is like, mbstd_group_size, conv_clamp, dtype and
            half_levels, average_decay, mapping_lr_multiplier. None: the defaults of `StyleGAN2Config`.
        sharding: where every variable goes; None: the default device.

    Raises:
        CheckpointError: no such file, or not a network of this kind; each tensor that does not fit is listed.
    """
    path = Path(path)
    if path.suffix == ".pkl":
        raise CheckpointError(
            f"{path} is a pickle, which can run code and is never loaded; convert it: see genjax/interop/stylegan2.py."
        )
    tensors = safetensors_io.open_folder(path, part)
    config, variables = from_tensors(tensors, part, str(path), base)
    placed = {name: place(array, sharding) for name, array in flatten_dict(variables, sep="/").items()}
    return config, unflatten_dict(placed, sep="/")


def save(
    folder: str | Path,
    config: StyleGAN2Config,
    generator: Mapping[str, Any] | None = None,
    discriminator: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes `generator.safetensors` and `discriminator.safetensors`, or the one that is given, into a folder.

    Args:
        generator, discriminator: all variables of the network; boxes are taken off.

    Raises:
        CheckpointError: variables that do not fit the config, a folder that holds files, or a disk that refused.
    """
    given = {part: variables for part, variables in (("generator", generator), ("discriminator", discriminator)) if variables}
    tensors = {part: to_tensors(variables, part, config) for part, variables in given.items()}
    stale = tuple(pattern for part in tensors for pattern in safetensors_io.weight_files(part))
    with folders.staged(folder, overwrite, stale) as staging:
        for part, values in tensors.items():
            safetensors_io.write_files(staging, values, stem=part)


def from_tensors(
    tensors: Mapping[str, LazyArray], part: Part, where: str, base: StyleGAN2Config | None = None
) -> tuple[StyleGAN2Config, dict[str, Any]]:
    """The config, and the tree of variables as lazy arrays; see `load`.

    Args:
        where: the checkpoint, for messages.
    """
    config = infer_config(tensors, part, where, base)
    plain = {key: tensor for key, tensor in tensors.items() if not _FILTER.fullmatch(key)}
    return config, unflatten_dict(names.to_ours(table(config, part), plain, shapes(config, part), where), sep="/")


def to_tensors(variables: Mapping[str, Any], part: Part, config: StyleGAN2Config) -> dict[str, LazyArray]:
    """Their tensors, buffers included."""
    arrays = {path: lazy.of_array(leaf) for path, leaf in flatten_dict(meta.unbox(dict(variables)), sep="/").items()}
    tensors = names.to_theirs(table(config, part), arrays, shapes(config, part))
    taps = setup_filter(config.taps)
    image = np.outer(taps, taps)
    return tensors | {key: lazy.of_array(image) for key in _filters(tensors)}


def infer_config(
    tensors: Mapping[str, LazyArray], part: Part, where: str, base: StyleGAN2Config | None = None
) -> StyleGAN2Config:
    """The config that the tensors' names and shapes describe, and `base` where they say nothing.

    Raises:
        CheckpointError: a tensor by which it is read is not there, or filters differ.
    """
    found = {key: tensor.shape for key, tensor in tensors.items()}
    prefix = "synthesis." if part == "generator" else ""
    sizes = sorted(int(match[1]) for key in found if (match := re.fullmatch(rf"{re.escape(prefix)}b(\d+)\.conv1\.weight", key)))
    image_size, least = sizes[-1] if sizes else 8, 4 if part == "generator" else 8
    if sizes != [2**level for level in range(least.bit_length() - 1, image_size.bit_length())]:
        raise CheckpointError(
            f"{where} is no {part} of StyleGAN2: it has {prefix}b{{resolution}}.conv1.weight for the resolutions {sizes}, and "
            f"all powers of 2 from {least} to the image's size were expected. It begins with {', '.join(sorted(found)[:4])}."
        )

    def shape(key: str, rank: int) -> tuple[int, ...]:
        if len(found.get(key, ())) != rank:
            have = f"has the shape {found[key]}" if key in found else "is not there"
            raise CheckpointError(f"{where} is no {part} of StyleGAN2: {key} {have}, and {rank} axes were expected.")
        return found[key]

    # Discriminators name channels after what their blocks read.
    layer = "conv1" if part == "generator" else "conv0"
    widths = {size: shape(f"{prefix}b{size}.{layer}.weight", 4)[0] for size in sizes}
    values: dict[str, Any] = dict(image_size=image_size)
    if part == "generator":
        values["channels"] = shape(f"synthesis.b{image_size}.torgb.weight", 4)[0]
        values["style_width"] = shape("mapping.w_avg", 1)[0]
        values["num_classes"] = shape("mapping.embed.weight", 2)[1] if "mapping.embed.weight" in found else 0
        embedded = values["style_width"] if values["num_classes"] else 0
        values["latent"] = shape("mapping.fc0.weight", 2)[1] - embedded
        values["mapping_layers"] = _layers(found)
        first, residual = "synthesis.b4.torgb.weight", "synthesis.b8.skip.weight"
    else:
        widths[4] = shape("b4.out.weight", 2)[1]
        values["channels"] = shape(f"b{image_size}.fromrgb.weight", 4)[1]
        values["num_classes"] = shape("mapping.embed.weight", 2)[1] if "mapping.embed.weight" in found else 0
        values["mbstd_channels"] = shape("b4.conv.weight", 4)[1] - widths[4]
        if values["num_classes"]:
            values["discriminator_mapping_layers"] = _layers(found)
        first, residual = "b4.fromrgb.weight", "b8.skip.weight"
    values[part] = "skip" if first in found else "resnet" if residual in found else "orig"
    values |= dict(channel_max=max(widths.values()), channel_base=max(size * width for size, width in widths.items()))
    values["taps"] = _taps(tensors, where)
    return dataclasses.replace(base or StyleGAN2Config(), **values)


def table(config: StyleGAN2Config, part: Part) -> Table:
    """Their names, and our paths within the variables."""
    rows = _generator_rows(config) if part == "generator" else _discriminator_rows(config)
    return Table(tuple(rows))


@functools.cache
def shapes(config: StyleGAN2Config, part: Part) -> Mapping[str, tuple[int, ...]]:
    """Path -> shape of every variable, from the model itself; nothing is computed."""
    c = config
    classes = jax.ShapeDtypeStruct((1,), "int32") if c.num_classes else None
    if part == "generator":
        module, first = StyleGenerator(c), jax.ShapeDtypeStruct((1, c.latent), "float32")
    else:
        module, first = StyleDiscriminator(c), jax.ShapeDtypeStruct((1, c.image_size, c.image_size, c.channels), "float32")
    variables = jax.eval_shape(module.init, jax.random.key(0), first, classes)
    return {path: leaf.shape for path, leaf in flatten_dict(meta.unbox(dict(variables)), sep="/").items()}


def _generator_rows(c: StyleGAN2Config) -> list[Row]:
    rows = [Row("mapping.w_avg", (f"{AVERAGE}/mean",)), *_mapping_rows(c.num_classes, c.mapping_layers)]
    rows.append(Row("synthesis.b4.const", ("params/synthesis/b4/const",), Transpose((1, 2, 0))))
    for size in c.resolutions:
        theirs, ours = f"synthesis.b{size}", f"synthesis/b{size}"
        for name in ("conv1",) if size == 4 else ("conv0", "conv1"):
            rows += _styled(f"{theirs}.{name}", f"params/{ours}/{name}")
            rows.append(Row(f"{theirs}.{name}.noise_strength", (f"params/{ours}/{name}/noise_strength",)))
            rows.append(Row(f"{theirs}.{name}.noise_const", (f"{NOISE_IMAGES}/{ours}/{name}/image",)))
        if size == c.image_size or c.generator == "skip":
            rows += _styled(f"{theirs}.torgb", f"params/{ours}/torgb")
        if c.generator == "resnet" and size > 4:
            rows.append(Row(f"{theirs}.skip.weight", (f"params/{ours}/skip/kernel",), _KERNEL))
    return rows


def _discriminator_rows(c: StyleGAN2Config) -> list[Row]:
    rows = []
    for size in c.resolutions[:0:-1]:
        if size == c.image_size or c.discriminator == "skip":
            rows += convolution(f"b{size}.fromrgb", f"params/b{size}/fromrgb")
        for name in ("conv0", "conv1"):
            rows += convolution(f"b{size}.{name}", f"params/b{size}/{name}")
        if c.discriminator == "resnet":
            rows.append(Row(f"b{size}.skip.weight", (f"params/b{size}/skip/kernel",), _KERNEL))
    if c.num_classes:
        rows += _mapping_rows(c.num_classes, c.discriminator_mapping_layers)
    if c.discriminator == "skip":
        rows += convolution("b4.fromrgb", "params/b4/fromrgb")
    # Their places follow channels, ours come before them.
    flat = Chain((Transpose(), Split(0, (c.channels_at(4), 4, 4)), Transpose((1, 2, 0, 3))))
    rows += convolution("b4.conv", "params/b4/conv") + linear("b4.out", "params/b4/out")
    return rows + [Row("b4.fc.weight", ("params/b4/fc/kernel",), flat), Row("b4.fc.bias", ("params/b4/fc/bias",))]


def _mapping_rows(num_classes: int, layers: int) -> list[Row]:
    parts = [*(["embed"] if num_classes else []), *(f"fc{layer}" for layer in range(layers))]
    return [row for name in parts for row in linear(f"mapping.{name}", f"params/mapping/{name}")]


def _styled(theirs: str, ours: str) -> list[Row]:
    return linear(f"{theirs}.affine", f"{ours}/affine") + convolution(theirs, ours)


def _layers(found: Mapping[str, Any]) -> int:
    return sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", key)) for key in found)


def _filters(tensors: Mapping[str, Any]) -> list[str]:
    """Where their modules hold a copy of the filter: blocks, but for a discriminator's last, and convolutions, but for those to
    an image."""
    layers = {re.sub(r"\.(weight|const)$", "", key) for key in tensors if re.search(r"\.(weight|const)$", key)}
    layers = {name for name in layers if re.search(r"b\d+\.(conv\d?|skip|fromrgb)$", name)}
    blocks = {name.rpartition(".")[0] for name in layers} - {"b4"}
    return sorted(f"{name}.resample_filter" for name in layers | blocks)


def _taps(tensors: Mapping[str, LazyArray], where: str) -> tuple[float, ...]:
    """Those of every layer, their smallest being 1."""
    images = {key: tensor.load() for key, tensor in tensors.items() if _FILTER.fullmatch(key)}
    if not images:
        return StyleGAN2Config.taps
    (first, image), *others = images.items()
    if wrong := [key for key, other in others if not np.array_equal(image, other)]:
        raise CheckpointError(f"{where}: {', '.join(wrong)} differ from {first}; one filter for all layers is supported.")
    rows = image.sum(1) if image.ndim == 2 else image
    if image.ndim == 2 and not np.allclose(np.outer(rows, rows), image * image.sum(), rtol=1e-5, atol=1e-8):
        raise CheckpointError(f"{where}: {first} is no product of a row and a column; only such filters are supported.")
    return tuple(float(tap) for tap in rows / np.abs(rows[rows != 0]).min())
