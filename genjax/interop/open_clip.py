"""CLIP in the layout of open_clip and of OpenAI, with a vision transformer or a ResNet, both ways.

A folder has open_clip_config.json and open_clip_model.safetensors; a file of OpenAI's weights alone says all there is to know by
its shapes. A ResNet's moving statistics come along: results are whole variables, {"params", "batch_stats"}.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from flax.core import meta
from flax.traverse_util import flatten_dict, unflatten_dict

from genjax.errors import CheckpointError, ConfigError
from genjax.interop import folders, lazy, names, safetensors_io
from genjax.interop.lazy import LazyArray
from genjax.interop.names import Row, Table
from genjax.interop.place import place
from genjax.interop.preprocessor import CLIP_MEAN, CLIP_STD, Preprocessor
from genjax.interop.rows import from_heads, linear, norm, to_heads
from genjax.interop.settings import Settings, zero_if
from genjax.interop.transforms import Chain, Fused, Split, Transpose
from genjax.models.clip import CLIP, CLIPConfig, CLIPImageConfig, CLIPTextConfig
from genjax.models.clip_resnet import CLIPResNetConfig
from genjax.models.tower import TowerConfig

CONFIG, STEM = "open_clip_config.json", "open_clip_model"
STEMS = (STEM, "open_clip_pytorch_model", "model")
EPSILON = 1e-5  # of every norm there
# Settings of open_clip that genjax does not have, with the values that leave them off.
_VISION_OFF = {
    **{"ls_init_value": None, "attentional_pool": False, "no_ln_pre": False, "pos_embed_type": "learnable"},
    **{"final_ln_after_pool": False, "pool_type": "tok", "act_kwargs": None, "norm_kwargs": None, "timm_model_name": None},
}
_TEXT_OFF = {
    **{"ls_init_value": None, "embed_cls": False, "no_causal_mask": False, "final_ln_after_pool": False, "proj_bias": False},
    **{"proj_type": "linear", "act_kwargs": None, "norm_kwargs": None, "hf_model_name": None},
}
_BLOCKS_OFF = {
    **{"block_type": None, "qk_norm": False, "scaled_cosine_attn": False, "scale_heads": False, "scale_attn_inner": False},
    **{"scale_attn": False, "scale_fc": False},
}
# Buffers of OpenAI's files; torch's count of batches.
_IGNORED = (r"input_resolution", r"context_length", r"vocab_size", r"attn_mask", r".*\.num_batches_tracked")


def is_open_clip(path: Path | str) -> bool:
    """Whether a path is a folder in this layout alone (LAION's have both), or a file of safetensors."""
    path = Path(path)
    return (path / CONFIG).is_file() and not (path / "config.json").is_file() or path.is_file() and path.suffix == ".safetensors"


def read_config(path: Path | str) -> tuple[CLIPConfig, Preprocessor]:
    """Our config of a folder, or of a file in OpenAI's layout, and how it wants its images.

    Raises:
        CheckpointError: nothing in this layout, or settings that genjax does not have (each is named).
    """
    path = Path(path)
    if path.is_file():
        config, settings = from_shapes(safetensors_io.open_folder(path), str(path)), {}
    else:
        values = folders.read_json(path / CONFIG)
        config = from_json(values.get("model_cfg") or {}, str(path / CONFIG))
        settings = values.get("preprocess_cfg") or {}
    s = Settings(settings, f"{path}: preprocess_cfg")
    s.require("resize_mode", "shortest", "squash")
    s.require("interpolation", "bicubic", "bilinear")
    s.check()
    size = (config.resnet or config.image).image_size
    fit = "stretch" if settings.get("resize_mode") == "squash" else "crop"
    mean, std = (tuple(settings.get(key) or given) for key, given in (("mean", CLIP_MEAN), ("std", CLIP_STD)))
    return config, Preprocessor(size, size, fit, 0, settings.get("interpolation") or "bicubic", mean, std)


def load(
    path: Path | str, shardings: Any = None, dtype: str | None = None, scan_layers: bool | None = None, config: Any = None
) -> dict[str, Any]:
    """The variables of a folder or a file: `CLIP(config).apply(result, images, tokens)`.

    Args:
        path: see `read_config`.
        shardings: a tree of shardings with the structure of the result, one sharding for everything, or None.
        dtype: of the arrays; None keeps that of the file (OpenAI's are float16).
        scan_layers: whether the towers' layers are stacked; None takes it from `config`.
        config: what the file must fit; None: what it says of itself.

    Raises:
        CheckpointError: the file cannot be read, or its tensors do not fit the config (every one that does not is listed).
    """
    found, _ = read_config(path)
    config = found if config is None else config
    if differing := _disagreements(found, config):
        raise CheckpointError(f"{path} is another model: {', '.join(differing)}.")
    if scan_layers is not None:
        config = _scanned(config, scan_layers)
    shapes = variable_shapes(config)
    arrays = names.to_ours(table(config), _open(Path(path)), shapes, str(path))
    targets = shardings if isinstance(shardings, Mapping) else None
    targets = dict.fromkeys(shapes, shardings) if targets is None else flatten_dict(dict(targets), sep="/")
    if targets.keys() != shapes.keys():
        odd = sorted(targets.keys() ^ shapes.keys())
        raise CheckpointError(f"the shardings are not those of the variables: {', '.join(odd)} are in one tree only.")
    return unflatten_dict({name: place(array, targets[name], dtype) for name, array in arrays.items()}, sep="/")


def save(
    folder: Path | str,
    variables: Mapping[str, Any],
    config: CLIPConfig,
    preprocessor: Preprocessor | None = None,
    tokenizer: Any = None,
    *,
    dtype: str | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a folder that open_clip reads (`create_model("local-dir:FOLDER")`) and `load` too.

    Args:
        folder: new; it appears only when it is complete.
        variables: as `load` gives them, layers stacked or not.
        preprocessor: how the model wants its images; None: as OpenAI's do.
        tokenizer: is saved beside; None writes none.
        dtype: of the file; None keeps that of the variables.
        overwrite: replace what is there of these files.

    Raises:
        CheckpointError: open_clip cannot express the config, the variables do not fit it, or the folder cannot be written.
    """
    if misfits := unexpressible(config):
        raise CheckpointError(f"open_clip has no such model: {', '.join(misfits)}.")
    arrays = {path: lazy.of_array(leaf) for path, leaf in flatten_dict(meta.unbox(dict(variables)), sep="/").items()}
    config = _scanned(config, any("blocks" in path.split("/") for path in arrays))
    tensors = names.to_theirs(table(config), arrays, variable_shapes(config))
    if dtype is not None:
        tensors = {key: lazy.cast(tensor, dtype) for key, tensor in tensors.items()}
    size = (config.resnet or config.image).image_size
    p = preprocessor or Preprocessor(size, size, mean=CLIP_MEAN, std=CLIP_STD)
    mode = "squash" if p.fit == "stretch" else "shortest"
    prepared = {"mean": p.mean, "std": p.std, "interpolation": p.resample, "resize_mode": mode}
    with folders.staged(folder, overwrite, safetensors_io.weight_files(STEM)) as staging:
        folders.write_json(staging / CONFIG, {"model_cfg": to_json(config), "preprocess_cfg": prepared})
        if tokenizer is not None:
            tokenizer.save(staging)
        safetensors_io.write_files(staging, tensors, max_shard_bytes=1 << 62, stem=STEM)  # open_clip reads one file


def from_json(values: Mapping[str, Any], where: str) -> CLIPConfig:
    """Our config from the section `model_cfg`. Raises CheckpointError: names every setting that genjax does not have."""
    s = Settings(values, where)
    text, image = Settings(s.section("text_cfg"), where, s.problems), Settings(s.section("vision_cfg"), where, s.problems)
    for section, off in ((text, _TEXT_OFF | _BLOCKS_OFF), (image, _VISION_OFF | _BLOCKS_OFF)):
        for key, value in off.items():
            section.require(key, value)
    s.require("init_logit_bias")
    s.require("nonscalar_logit_scale", False)
    text.require("pool_type", "argmax", "eos")
    width, activation = s.integer("embed_dim", 512), "quick_gelu" if s.boolean("quick_gelu", False) else "gelu"
    shared = dict(activation=activation, norm_epsilon=EPSILON, projection_dim=width)
    text_width = text.integer("width", 512)
    text_fields = dict(
        num_layers=text.integer("layers", 12),
        num_heads=text.integer("heads", 8),
        embed_dim=text_width,
        mlp_dim=zero_if(int(text_width * text.number("mlp_ratio", 4.0)), 4 * text_width),
        vocab_size=text.integer("vocab_size", 49408),
        context_length=text.integer("context_length", 77),
        eos_id=text.integer("eos_id", 2) if text.values.get("pool_type") == "eos" else None,
    )
    sides = image.values.get("image_size", 224)
    side = sides[0] if isinstance(sides, list | tuple) and len(set(sides)) == 1 else sides
    if not isinstance(side, int) or side < 1:
        image.problem(f"image_size is {sides!r}, expected a number of pixels")
        side = 224
    layers, image_width, head = image.values.get("layers", 12), image.integer("width", 768), image.integer("head_width", 64)
    resnet, image_fields = None, {}
    if isinstance(layers, list | tuple):
        resnet = dict(layers=tuple(layers), width=image_width, head_dim=head, image_size=side, projection_dim=width)
    else:
        image_fields = dict(
            num_layers=image.integer("layers", 12),
            num_heads=image_width // head,
            embed_dim=image_width,
            mlp_dim=zero_if(int(image_width * image.number("mlp_ratio", 4.0)), 4 * image_width),
            image_size=side,
            patch_size=image.integer("patch_size", 16),
        )
    s.check()
    return _config(text_fields | shared, image_fields | shared, resnet, where)


def to_json(config: CLIPConfig) -> dict[str, Any]:
    """The section `model_cfg`."""
    text, image, resnet = config.text, config.image, config.resnet
    if resnet is not None:
        vision = {"layers": list(resnet.layers), "width": resnet.width, "head_width": resnet.head_dim, "patch_size": None}
    else:
        vision = {
            "layers": image.num_layers,
            "width": image.embed_dim,
            "head_width": image.embed_dim // image.num_heads,
            "mlp_ratio": image.hidden_width / image.embed_dim,
            "patch_size": image.patch_size,
        }
    return {
        "embed_dim": text.projection_dim,
        "quick_gelu": text.activation == "quick_gelu",
        "vision_cfg": {"image_size": (resnet or image).image_size, **vision},
        "text_cfg": {
            "context_length": text.context_length,
            "vocab_size": text.vocab_size,
            "width": text.embed_dim,
            "heads": text.num_heads,
            "layers": text.num_layers,
            "mlp_ratio": text.hidden_width / text.embed_dim,
            **({} if text.eos_id is None else {"pool_type": "eos", "eos_id": text.eos_id}),
        },
    }


def from_shapes(tensors: Mapping[str, LazyArray], where: str) -> CLIPConfig:
    """The config of OpenAI's weights, as their shapes tell it: heads of width 64, quick GELU.

    Raises:
        CheckpointError: these are no such weights.
    """
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    missing = [key for key in ("text_projection", "positional_embedding", "token_embedding.weight") if key not in shapes]
    if missing or not {"visual.proj", "visual.attnpool.c_proj.weight"} & shapes.keys():
        raise CheckpointError(f"{where} holds no CLIP in OpenAI's layout: it lacks {missing[0] if missing else 'visual.proj'}.")
    text_width, width = shapes["text_projection"]
    shared = dict(activation="quick_gelu", norm_epsilon=EPSILON, projection_dim=width)
    text = dict(
        num_layers=_count(shapes, r"transformer\.resblocks\.(\d+)\."),
        num_heads=max(text_width // 64, 1),
        embed_dim=text_width,
        vocab_size=shapes["token_embedding.weight"][0],
        context_length=shapes["positional_embedding"][0],
    )
    if "visual.proj" not in shapes:
        side = math.isqrt(shapes["visual.attnpool.positional_embedding"][0] - 1)
        layers = tuple(_count(shapes, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
        stem = shapes["visual.layer1.0.conv1.weight"][0]
        return _config(text | shared, shared, dict(layers=layers, width=stem, image_size=32 * side, projection_dim=width), where)
    image_width, _, _, patch = shapes["visual.conv1.weight"]
    image = dict(
        num_layers=_count(shapes, r"visual\.transformer\.resblocks\.(\d+)\."),
        num_heads=max(image_width // 64, 1),
        embed_dim=image_width,
        image_size=patch * math.isqrt(shapes["visual.positional_embedding"][0] - 1),
        patch_size=patch,
    )
    return _config(text | shared, image | shared, None, where)


def unexpressible(config: CLIPConfig) -> list[str]:
    """A phrase for each setting that open_clip does not have."""
    towers = {"text": config.text} | ({"image": config.image} if config.resnet is None else {})
    phrases = [
        f"{name}.norm_epsilon is {t.norm_epsilon} (needs {EPSILON})" for name, t in towers.items() if t.norm_epsilon != EPSILON
    ]
    activations = {tower.activation for tower in towers.values()}
    if len(activations) > 1 or not activations <= {"gelu", "quick_gelu"}:
        phrases.append(f"activation is {' and '.join(sorted(activations))} (needs gelu or quick_gelu, in both towers)")
    if (config.resnet or config.image).channels != 3:
        phrases.append("images have other than 3 channels")
    return phrases


def table(config: CLIPConfig) -> Table:
    """Their names and our paths within the variables."""
    rows = [
        Row("token_embedding.weight", ("params/text/token_embed/embedding",)),
        Row("positional_embedding", ("params/text/position_embed/embedding",)),
        *_blocks("transformer", "params/text", config.text),
        *norm("ln_final", "params/text/final_norm"),
        Row("text_projection", ("params/text/projection/kernel",)),
        Row("logit_scale", ("params/log_scale",)),
        *(_vision(config.image) if config.resnet is None else _resnet(config.resnet)),
    ]
    # open_clip's CustomTextCLIP keeps the text tower apart.
    return Table(tuple(rows), ignored=_IGNORED, renames=((r"^text\.", ""),))


def variable_shapes(config: CLIPConfig) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every variable, from the model itself; nothing is computed."""
    seen = config.resnet or config.image
    images = jax.ShapeDtypeStruct((1, seen.image_size, seen.image_size, seen.channels), "float32")
    variables = jax.eval_shape(CLIP(config).init, jax.random.key(0), images, jax.ShapeDtypeStruct((1, 1), "int32"))
    return {path: leaf.shape for path, leaf in flatten_dict(meta.unbox(dict(variables)), sep="/").items()}


def _blocks(theirs: str, ours: str, config: TowerConfig) -> list[Row]:
    width, layers = config.embed_dim, config.num_layers
    heads = (config.num_heads, width // config.num_heads)
    layer, block = f"{theirs}.resblocks.{{layer}}", f"{ours}/blocks_{{layer}}"
    three = tuple(f"{block}/attention/{part}" for part in ("query", "key", "value"))
    kernels, biases = tuple(f"{part}/kernel" for part in three), tuple(f"{part}/bias" for part in three)
    return [
        Row(f"{layer}.attn.in_proj_weight", kernels, Chain((Fused(0, (width,) * 3), Transpose(), Split(1, heads))), layers),
        Row(f"{layer}.attn.in_proj_bias", biases, Chain((Fused(0, (width,) * 3), Split(0, heads))), layers),
        *from_heads(f"{layer}.attn.out_proj", f"{block}/attention/out", heads, layers),
        *norm(f"{layer}.ln_1", f"{block}/attention_norm", layers),
        *norm(f"{layer}.ln_2", f"{block}/mlp_norm", layers),
        *linear(f"{layer}.mlp.c_fc", f"{block}/mlp/up", layers),
        *linear(f"{layer}.mlp.c_proj", f"{block}/mlp/down", layers),
    ]


def _vision(config: CLIPImageConfig) -> list[Row]:
    return [
        Row("visual.class_embedding", ("params/image/class_embed",)),
        Row("visual.positional_embedding", ("params/image/position_embed",)),
        Row("visual.conv1.weight", ("params/image/patch_embed/projection/kernel",), Transpose((2, 3, 1, 0))),
        *norm("visual.ln_pre", "params/image/pre_norm"),
        *_blocks("visual.transformer", "params/image", config),
        *norm("visual.ln_post", "params/image/final_norm"),
        Row("visual.proj", ("params/image/projection/kernel",)),
    ]


def _resnet(config: CLIPResNetConfig) -> list[Row]:
    rows: list[Row] = []

    def layer(theirs: tuple[str, str], ours: tuple[str, str]) -> None:
        """A convolution and the batch norm after it."""
        conv, statistics = (f"image/{name}" for name in ours)
        rows.append(Row(f"visual.{theirs[0]}.weight", (f"params/{conv}/kernel",), Transpose((2, 3, 1, 0))))
        rows.extend(norm(f"visual.{theirs[1]}", f"params/{statistics}"))
        rows.append(Row(f"visual.{theirs[1]}.running_mean", (f"batch_stats/{statistics}/mean",)))
        rows.append(Row(f"visual.{theirs[1]}.running_var", (f"batch_stats/{statistics}/var",)))

    for i in (1, 2, 3):
        layer((f"conv{i}", f"bn{i}"), (f"stem_conv_{i}", f"stem_norm_{i}"))
    for stage, blocks in enumerate(config.layers):
        for i in range(blocks):
            theirs, ours = f"layer{stage + 1}.{i}", f"stage_{stage}_block_{i}"
            for number in (1, 2, 3):
                layer((f"{theirs}.conv{number}", f"{theirs}.bn{number}"), (f"{ours}/conv_{number}", f"{ours}/norm_{number}"))
            if not i:  # a stage's first block changes the number of channels
                layer((f"{theirs}.downsample.0", f"{theirs}.downsample.1"), (f"{ours}/shortcut_conv", f"{ours}/shortcut_norm"))
    heads = (config.features // config.head_dim, config.head_dim)
    pool, here = "visual.attnpool", "params/image/pool"
    rows.append(Row(f"{pool}.positional_embedding", (f"{here}/position_embed",)))
    for their, our in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
        rows += to_heads(f"{pool}.{their}", f"{here}/{our}", heads)
    return rows + from_heads(f"{pool}.c_proj", f"{here}/out", heads)


def _config(text: Mapping[str, Any], image: Mapping[str, Any], resnet: Mapping[str, Any] | None, where: str) -> CLIPConfig:
    try:
        return CLIPConfig(
            CLIPTextConfig(**text), CLIPImageConfig(**image), None if resnet is None else CLIPResNetConfig(**resnet)
        )
    except ConfigError as error:
        raise CheckpointError(f"{where} describes no model: {error}") from error


def _open(path: Path) -> dict[str, LazyArray]:
    stem = next((stem for stem in STEMS if path.is_dir() and any(path.glob(f"{stem}.safetensors*"))), STEM)
    return safetensors_io.open_folder(path, stem)


def _count(shapes: Mapping[str, Any], pattern: str) -> int:
    return len({found.group(1) for key in shapes if (found := re.match(pattern, key))})


def _scanned(config: CLIPConfig, scan_layers: bool) -> CLIPConfig:
    towers = (dataclasses.replace(tower, scan_layers=scan_layers) for tower in (config.text, config.image))
    return dataclasses.replace(config, **dict(zip(("text", "image"), towers, strict=True)))


def _disagreements(found: CLIPConfig, wanted: CLIPConfig) -> list[str]:
    """Settings in which two models differ whose tensors may have the same shapes."""
    if (found.resnet is None) != (wanted.resnet is None):
        return ["one has a ResNet and the other has none"]
    pairs = [("text", ("num_heads", "activation", "norm_epsilon", "eos_id"))]
    pairs.append(("image", ("num_heads", "activation", "norm_epsilon")) if found.resnet is None else ("resnet", ("head_dim",)))
    return [
        f"{part}.{name} is {getattr(getattr(found, part), name)!r} there and {getattr(getattr(wanted, part), name)!r} here"
        for part, fields in pairs
        for name in fields
        if getattr(getattr(found, part), name) != getattr(getattr(wanted, part), name)
    ]
