"""Attention maps as a picture: for each stack of layers a panel for every layer (down) and head (across)."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from genjax.errors import RequestError
from genjax.sampling.summaries import writing
from genjax.sampling.writers import check_target
from genjax.tasks.contract import AttentionMap

DPI = 110
LABEL, SMALLEST, LARGEST = 0.13, 1.1, 3.2  # inches: a token's label, the side of a panel
MARGIN = 1.0  # inches for labels and title
INK = "#1f2933"


def check_picture(target: Path | str, *, overwrite: bool = False) -> None:
    """Raises RequestError where a picture could not be written; call it before anything is computed."""
    if Path(target).suffix != ".png":
        raise RequestError(f"a picture of attention is a .png file, but --attention is {target}; give it that ending.")
    check_target(target, overwrite=overwrite)


def write_picture(maps: Sequence[AttentionMap], target: Path | str, *, overwrite: bool = False) -> Path:
    """Draws the maps one below the other.

    Raises:
        RequestError: another ending than .png, the file exists (and `overwrite` is off), or it cannot be written.
    """
    check_picture(target, overwrite=overwrite)
    path = Path(target)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with writing(path):
            draw(maps).savefig(partial, format="png", dpi=DPI, facecolor="white")
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def draw(maps: Sequence[AttentionMap]) -> Figure:
    """A figure with a part for each map. Every panel is scaled to its own largest weight."""
    sizes = [_size(m) for m in maps]
    figure = Figure(figsize=(max(width for width, _ in sizes), sum(height for _, height in sizes)))
    FigureCanvasAgg(figure)
    parts = figure.subfigures(len(maps), 1, squeeze=False, height_ratios=[height for _, height in sizes])[:, 0]
    for part, one, size in zip(parts, maps, sizes, strict=True):
        _draw_map(part, one, size)
    return figure


def _panel(one: AttentionMap) -> tuple[float, float]:
    """Inches of a panel: (width, height)."""
    if one.image is not None:
        height, width = one.image.shape[:2]
        return 1.4 * width / max(height, width), 1.4 * height / max(height, width)
    return tuple(float(np.clip(LABEL * n, SMALLEST, LARGEST)) for n in (one.weights.shape[3], one.weights.shape[2]))


def _size(one: AttentionMap) -> tuple[float, float]:
    layers, heads = one.weights.shape[:2]
    width, height = _panel(one)
    return heads * width * 1.1 + 1.5 * MARGIN, layers * height * 1.15 + 1.7 * MARGIN


def _draw_map(part: SubFigure, one: AttentionMap, size: tuple[float, float]) -> None:
    layers, heads = one.weights.shape[:2]
    part.suptitle(one.title, x=0.01, ha="left", fontsize=10, color=INK, weight="bold")
    edges = {"left": MARGIN / size[0], "right": 1 - 0.2 / size[0], "bottom": MARGIN / size[1], "top": 1 - 0.6 / size[1]}
    axes = part.subplots(layers, heads, squeeze=False, gridspec_kw={"wspace": 0.1, "hspace": 0.15, **edges})
    for layer in range(layers):
        for head in range(heads):
            panel = axes[layer, head]
            weights = one.weights[layer, head]
            if one.image is not None:
                _overlay(panel, one, weights)
            else:
                panel.imshow(weights, cmap="viridis", vmin=0, aspect="auto", interpolation="nearest")
            panel.set_xticks([])
            panel.set_yticks([])
            if layer == 0:
                panel.set_title(f"head {head}", fontsize=7, color=INK, pad=2)
            if head == 0:
                panel.set_ylabel(f"layer {layer}", fontsize=7, color=INK)
    if one.image is None:
        width, height = _panel(one)
        for layer in range(layers):
            _label(axes[layer, 0].yaxis, one.queries, height)
        for head in range(heads):
            _label(axes[-1, head].xaxis, one.keys, width, rotation=90)


def _overlay(panel: Axes, one: AttentionMap, weights: Float[np.ndarray, "queries keys"]) -> None:
    """The picture in grey, and over it the first query's weights, smoothed between the patches' centres."""
    height, width = one.image.shape[:2]
    extent = (0, width, height, 0)
    grey = one.image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    panel.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=extent)
    seen = weights[0].reshape(one.grid)
    panel.imshow(seen, cmap="inferno", alpha=0.6, vmin=0, extent=extent, interpolation="bilinear")


def _label(axis, names: Sequence[str], inches: float, **options) -> None:
    if not names:
        return
    size = float(np.clip(72 * inches / len(names) * 0.75, 2.5, 7))
    axis.set_ticks(range(len(names)), [name[:14].replace("$", r"\$") for name in names], fontsize=size, **options)
    axis.set_tick_params(length=0, pad=1)
