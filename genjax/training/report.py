"""report.png: a run on one page.

Metrics are grouped by the last part of their name: `loss`, `held_out/loss` and `critic/loss` share a panel. Any family's metrics
find a place; those that are known get one of their own kind of axis and come first.
"""

import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from genjax.training.metrics import DEVIATION, HELD_OUT, SAMPLES, read_metrics

ORDER = (
    *("loss", "accuracy", "perplexity", "bits_per_byte"),
    *("fid", "kid", "precision", "recall", "agreement_class", "agreement_of_all", "effective_classes"),
    *("gradient_norm", "learning_rate", "per_second", "mfu"),
)
OMITTED = ("step", "time", "seconds_per_step")  # the rate says the same as the last
LOGARITHMIC = ("gradient_norm", "perplexity")
MAX_PANELS = 17
COLUMNS = 3
FACT_COLUMNS = 3
WIDTH, ROW = 15.0, 3.6  # inches: of the page, and of a row of panels with all that is written around them
LEFT, RIGHT, BETWEEN = 0.85, 0.25, 0.85  # of panels from the page's sides and from each other
COLORS = ("#2f6fb2", "#dd7a1f", "#3a9a5b", "#c2415d", "#7d5fb2", "#8c6d4f", "#3aa6b9", "#6b7280")
INK, FAINT, ALARM = "#1f2933", "#9aa5b1", "#d64545"
RISING = re.compile(
    r"(accuracy|score|bleu|rouge|exact_match|top_\d+|image_to_\w+_\d+|precision|recall|density|coverage|agreement\w*"
    r"|effective_classes|psnr\w*|ssim|code_use\w*|code_perplexity\w*)$"
)  # more is better
NEUTRAL = re.compile(
    r"(accuracy|logit|distance)_(real|fake)$|diversity$|sharpness$|copied_\w+$|_cubic$"
)  # neither more nor less is better
LONG = 40  # letters; more of them leave no room for the best value on the same line of a legend
SMOOTH_FROM = 60  # points; shorter series are shown as they are


@dataclass
class Series:
    """One metric over the run.

    Attributes:
        label: "train", "held out", "samples" with what measured them, or the turn's name.
        seldom: found now and then, of held-out data or of samples.
        steps, values: in order of steps; values may be NaN or infinite.
    """

    label: str
    seldom: bool
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def write_report(
    metrics_path: Path | str,
    png_path: Path | str,
    *,
    title: str,
    facts: Mapping[str, Any] | None = None,
    log_steps: bool = False,
) -> None:
    """Draws metrics.jsonl; a disk that takes no more is a warning.

    Args:
        metrics_path: metrics.jsonl; a missing or empty one gives a page with the facts alone.
        png_path: replaced as a whole.
        title: the run's name.
        facts: `{what: text or number}` for the head of the page: parameters, tokens seen, devices, time, config hash.
        log_steps: logarithmic axis for the steps of the first panel, the loss.
    """
    records = read_metrics(metrics_path)
    panels = group(records)
    hidden = list(panels)[MAX_PANELS:]
    shown = {name: panels[name] for name in list(panels)[:MAX_PANELS]}
    facts = dict(facts or {}) | ({"more in metrics.jsonl": ", ".join(hidden)} if hidden else {})
    figure = _draw(shown, title, facts, log_steps)
    temporary = Path(png_path).with_name(f".{Path(png_path).name}.{os.getpid()}")
    try:
        figure.savefig(temporary, format="png", dpi=110, facecolor="white")
        os.replace(temporary, png_path)
    except OSError as error:
        print(f"warning: {png_path} cannot be written: {(error.strerror or str(error)).lower()}.", file=sys.stderr)
    finally:
        temporary.unlink(missing_ok=True)


def group(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Series]]:
    """`{panel: series}` in the order of drawing, the training series of a panel before those that are found now and then."""
    found: dict[str, dict[str, Series]] = {}
    for record in records:
        for name, value in record.items():
            if name in OMITTED or name.endswith(DEVIATION) or isinstance(value, (str, bool)) or value is None:
                continue
            *prefix, metric = name.split("/")
            held_out = prefix[:1] == [HELD_OUT]
            turn = " ".join(prefix[1:] if held_out else prefix).replace("_", " ")
            label = " ".join(part for part in ("held out" if held_out else "", turn) if part) or "train"
            series = found.setdefault(metric, {}).setdefault(name, Series(label, prefix[:1] in ([HELD_OUT], [SAMPLES])))
            series.steps.append(int(record["step"]))
            series.values.append(float(value))
    rank = {metric: next((i for i, known in enumerate(ORDER) if metric.endswith(known)), len(ORDER)) for metric in found}
    ordered = sorted(found, key=lambda metric: (rank[metric], metric))
    return {metric: sorted(found[metric].values(), key=lambda s: (s.seldom, s.label)) for metric in ordered}


def smooth(values: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """Mean over a centred window of a fortieth of the points, which narrows at the beginning, where curves are steep, and is cut
    at the end. Values that are not finite are left out."""
    good = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(good, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(good)])
    middle = np.arange(len(values))
    half = np.minimum(middle, max(len(values) // 80, 1))
    low, high = middle - half, np.minimum(middle + half + 1, len(values))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total[high] - total[low]) / (count[high] - count[low])


def _draw(panels: Mapping[str, Sequence[Series]], title: str, facts: Mapping[str, Any], log_steps: bool) -> Figure:
    lines = [(name.replace("_", " "), str(value)) for name, value in facts.items()]
    wide = {0: 1, 1: 3, 2: 2}[len(panels) % COLUMNS]  # columns of the first panel, so that the others fill their rows
    rows = (len(panels) + wide - 1) // COLUMNS if panels else 0
    head = 0.75 + 0.27 * math.ceil(len(lines) / FACT_COLUMNS)
    height = head + ROW * max(rows, 0.5)
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    _head(figure, title, lines, height)
    if not panels:
        figure.text(0.5, ROW / 4 / height, "no metrics yet", ha="center", fontsize=13, color=FAINT)
        return figure
    # Places in inches: matplotlib's own layout would draw every page twice to find them.
    inner, below, above = (WIDTH - LEFT - RIGHT - (COLUMNS - 1) * BETWEEN) / COLUMNS, 0.55, 0.4
    grid = figure.add_gridspec(
        *(rows, COLUMNS),
        **{"left": LEFT / WIDTH, "right": 1 - RIGHT / WIDTH, "bottom": below / height, "top": 1 - (head + above) / height},
        **{"wspace": BETWEEN / inner, "hspace": (below + above) / (ROW - below - above)},
    )
    for index, (metric, series) in enumerate(panels.items()):
        row, column = divmod(index + (wide - 1 if index else 0), COLUMNS)
        axes = figure.add_subplot(grid[0, :wide] if index == 0 else grid[row, column])
        _panel(axes, metric, series, log_steps and index == 0)
    return figure


def _head(figure: Figure, title: str, lines: Sequence[tuple[str, str]], height: float) -> None:
    """The title, and the facts in columns below it; `height` of the page in inches."""
    y = 1 - 0.16 / height
    figure.text(0.012, y, title, ha="left", va="top", fontsize=18, fontweight="bold", color=INK, parse_math=False)
    rows = math.ceil(len(lines) / FACT_COLUMNS)
    letter = 0.0062  # mean width, as a share of the page
    for index, (name, value) in enumerate(lines):
        column, row = divmod(index, rows)
        names = max(len(other) for other, _ in lines[column * rows : (column + 1) * rows]) * letter + 0.012
        value = _shorten(value, int((1 / FACT_COLUMNS - names) / letter) - 3)
        x, y = 0.0125 + column / FACT_COLUMNS, 1 - (0.66 + 0.27 * row) / height
        figure.text(x, y, name, va="top", fontsize=10.5, color="#7b8794", parse_math=False)
        figure.text(x + names, y, value, va="top", fontsize=10.5, color=INK, parse_math=False)


def _panel(axes: Axes, metric: str, series: Sequence[Series], log_steps: bool) -> None:
    axes.set_title(metric.replace("_", " "), loc="left", fontsize=12.5, fontweight="bold", color=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors="#52606d", labelsize=9)
    axes.grid(True, color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    alone = len(series) == 1
    for index, one in enumerate(series):
        _line(axes, metric, one, COLORS[index % len(COLORS)], alone)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if log_steps and max(max(one.steps) for one in series) > 10:
        axes.set_xscale("log")
    _value_axis(axes, metric, series)
    axes.set_xlabel("step", fontsize=9, color="#52606d")
    legend = axes.legend(fontsize=9, frameon=False, labelcolor=INK, loc="best")
    legend.set_zorder(5)


def _line(axes: Axes, metric: str, one: Series, color: str, alone: bool) -> None:
    steps, values = np.array(one.steps), np.array(one.values)
    good = np.isfinite(values)
    plotted = np.where(good, values, np.nan)
    latest = _text(metric, values[good][-1]) if good.any() else "not finite"
    label = latest if alone and one.label == "train" else f"{one.label}  {latest}"
    if one.seldom and good.sum() > 2 and not NEUTRAL.search(metric):
        best = int(np.nanargmax(plotted) if RISING.search(metric) else np.nanargmin(plotted))
        label += "\n" if len(label) > LONG else "  "
        label += f"(best {_text(metric, values[best])} at {steps[best]:,})"
    if one.seldom or len(values) < SMOOTH_FROM or metric == "learning_rate":
        marker = "o" if one.seldom or len(values) < 3 else None
        axes.plot(steps, plotted, color=color, lw=1.8, marker=marker, ms=max(2.0, 5.0 - len(values) / 40), label=label, zorder=3)
    else:
        axes.plot(steps, plotted, color=color, lw=0.8, alpha=0.28, zorder=2)
        axes.plot(steps, smooth(values), color=color, lw=1.8, label=label, zorder=3)
    if not good.all():
        for step in steps[~good][:50]:
            axes.axvline(step, color=ALARM, lw=1, ls=":", zorder=1)
        axes.plot([], [], color=ALARM, lw=1, ls=":", label=f"{one.label}: {(~good).sum()} not finite")


def _value_axis(axes: Axes, metric: str, series: Sequence[Series]) -> None:
    values = np.concatenate([np.array(one.values) for one in series])
    values = values[np.isfinite(values)]
    if not len(values):
        return
    if metric in LOGARITHMIC and values.min() > 0 and values.max() > 20 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    elif metric.endswith("per_second"):
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_ylim(0, 1.12 * values.max() or 1)
    elif metric == "mfu":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        axes.set_ylim(0, 1.12 * values.max() or 1)
    elif metric == "learning_rate":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.set_ylim(0, 1.12 * values.max() or 1)


def _text(metric: str, value: float) -> str:
    if metric == "mfu":
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _shorten(text: str, width: int) -> str:
    width = max(width, 8)
    return text if len(text) <= width else f"{text[: width // 2 - 1]}…{text[-(width // 2 - 1) :]}"
