"""report.png: every family's metrics find their panel, and no content of metrics.jsonl breaks the page."""

import math

import numpy as np
import pytest
from PIL import Image

from genjax.training.metrics import MetricsWriter, read_metrics
from genjax.training.report import _draw, group, smooth, write_report


def records(steps, **functions):
    return [{"step": step, "time": 0.0} | {name.replace("__", "/"): f(step) for name, f in functions.items()} for step in steps]


def texts(figure):
    return {artist.get_text() for axes in figure.get_axes() for artist in axes.get_legend().get_texts()}


def test_names_are_grouped_by_their_last_part_and_known_panels_come_first():
    panels = group(
        records(
            [1, 2],
            seconds_per_step=lambda s: 0.1,
            zebra=lambda s: s,
            images_per_second=lambda s: 9.0,
            critic__loss=lambda s: 1.0,
            held_out__generator__loss=lambda s: 2.0,
            generator__loss=lambda s: 3.0,
            generator__learning_rate=lambda s: 1e-4,
            samples__eye__fid=lambda s: 50.0,
            samples__eye__kid_deviation=lambda s: 1.0,
        )
    )
    assert list(panels) == ["loss", "fid", "learning_rate", "images_per_second", "zebra"]
    assert [(s.label, s.seldom, s.values[0]) for s in panels["loss"]] == [
        ("critic", False, 1.0),
        ("generator", False, 3.0),
        ("held out generator", True, 2.0),
    ]
    assert [(s.label, s.seldom) for s in panels["fid"]] == [("samples eye", True)]
    assert panels["zebra"][0].label == "train" and panels["zebra"][0].steps == [1, 2]


def test_texts_and_missing_values_are_left_out():
    assert group([{"step": 1, "loss": None, "note": "x", "flag": True, "time": 0.0}]) == {}


@pytest.mark.parametrize("count", range(1, 8))
def test_panels_fill_their_rows(count):
    panels = group(records([1, 2], **{f"metric_{i}": float for i in range(count)}))
    figure = _draw(panels, "title", {"parameters": 1}, log_steps=False)
    spans = [axes.get_subplotspec() for axes in figure.get_axes()]
    cells = [(row, column) for s in spans for row in s.rowspan for column in s.colspan]
    assert sorted(cells) == [(row, column) for row in range(max(r for r, _ in cells) + 1) for column in range(3)]
    assert [axes.get_title(loc="left") for axes in figure.get_axes()] == [f"metric {i}" for i in range(count)]


def test_the_legend_tells_the_last_and_the_best_value():
    panels = group(
        records(
            [10, 20, 30],
            loss=lambda s: s / 10,
            held_out__loss=lambda s: abs(s - 20) + 1,
            held_out__accuracy=lambda s: -abs(s - 20),
            held_out__top_5=lambda s: s / 100,
            held_out__made_psnr=lambda s: s,
            held_out__logit_fake=lambda s: s,
            held_out__psnr_cubic=lambda s: 2 * s,
            samples__a_network_with_a_name_that_is_rather_long__fid=lambda s: s / 10,
            samples__agreement_class=lambda s: -abs(s - 20),
        )
    )
    found = texts(_draw(panels, "", {}, log_steps=False))
    assert found == {
        "train  3",
        "held out  11  (best 1 at 20)",
        "held out  -10  (best 0 at 20)",
        "held out  0.3  (best 0.3 at 30)",
        "held out  30  (best 30 at 30)",
        "held out  60",
        "held out  30",  # of what is neither better nor worse when it is more
        "samples  -10  (best 0 at 20)",
        "samples a network with a name that is rather long  3\n(best 1 at 10)",
    }


def test_values_that_are_not_finite_are_marked():
    panels = group(
        records(range(1, 6), loss=lambda s: math.nan if s in (2, 3) else math.inf if s == 4 else 1.0, bad=lambda s: math.nan)
    )
    assert {"train: 3 not finite", "not finite", "train: 5 not finite"} <= texts(_draw(panels, "", {}, log_steps=False))


def test_smoothing_keeps_straight_lines_and_skips_holes():
    line = np.arange(1000.0)
    assert np.allclose(smooth(line)[:980], line[:980])
    line[500] = math.nan
    assert np.allclose(smooth(line)[:980], np.arange(1000.0)[:980], atol=1.0)
    noise = np.random.default_rng(0).normal(size=1000)
    assert smooth(noise).std() < 0.3
    assert np.isnan(smooth(np.full(3, math.nan))).all()


@pytest.mark.parametrize("log_steps", [False, True])
def test_a_run_becomes_a_page(tmp_path, log_steps):
    with MetricsWriter(tmp_path) as writer:
        for step in range(0, 700, 7):
            writer.write(
                step, {"loss": 4.0 / (1 + step), "gradient_norm": 100.0 / (1 + step), "mfu": 0.4, "tokens_per_second": 1e4}
            )
        writer.write(700, {"held_out/loss": 0.1, "held_out/perplexity": 1.1})
    facts = {"parameters": "10,745,088", "workdir": "/a/very/long/path/" * 9, "cost": "$5 and $6"}
    write_report(tmp_path / "metrics.jsonl", tmp_path / "report.png", title="run $1", facts=facts, log_steps=log_steps)
    image = np.asarray(Image.open(tmp_path / "report.png").convert("RGB"))
    assert image.shape[1] == 1650 and image.shape[0] > 700
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 100  # curves in colours, not an empty page
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.jsonl", "report.png", "tensorboard"]


def test_no_metrics_is_a_page_with_the_facts(tmp_path):
    write_report(tmp_path / "none.jsonl", tmp_path / "report.png", title="t", facts={"parameters": 1})
    assert Image.open(tmp_path / "report.png").size[0] == 1650


def test_too_many_metrics_are_named_in_the_facts(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(1, {f"metric_{i:02}": float(i) for i in range(40)})
    write_report(tmp_path / "metrics.jsonl", tmp_path / "report.png", title="t")
    assert len(group(read_metrics(tmp_path / "metrics.jsonl"))) == 40
    assert Image.open(tmp_path / "report.png").size[1] < 3000


def test_a_page_that_cannot_be_written_is_a_warning(tmp_path, capsys):
    write_report(tmp_path / "none.jsonl", tmp_path / "no" / "report.png", title="t")
    assert capsys.readouterr().err == f"warning: {tmp_path}/no/report.png cannot be written: no such file or directory.\n"
