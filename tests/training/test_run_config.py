"""What a run's config may not be, before anything is built."""

import pytest

from genjax.errors import ConfigError
from genjax.training.run_config import check_batch, structure_run

SECTIONS = {"task": {"name": "language_model"}, "data": {"name": "text"}, "train": {"steps": 5}}


def test_sections_that_end_in_optimizer_are_optimizers():
    run = structure_run(SECTIONS | {"critic_optimizer": {"name": "adam", "b1": 0.0}})
    assert set(run.optimizers) == {"optimizer", "critic_optimizer"}
    assert run.optimizers["critic_optimizer"].b1 == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"critic_optimizer": {"peek_lr": 1}},
            r"unknown key config\.critic_optimizer\.peek_lr; did you mean .*\.peak_lr",
        ),
        ({"optimizers": {}}, r"unknown key config\.optimizers; did you mean config\.optimizer\?"),
        ({"train": {"steps": 0}}, r"train\.steps must be at least 1, but is 0"),
        ({"train": {"steps": 1, "profile": (3,)}}, r"train\.profile must be \(first, last\) steps"),
        ({"ema": {"decays": (1.5,)}}, r"every EMA decay lies between 0 and 1"),
        ({"ema": {"stds": (0.3,)}}, r"every relative width is above 0 and at most 0\.2887, but ema\.stds is \(0\.3,\)"),
        ({"ema": {"stds": (0.1, 0.1)}}, r"ema\.stds \(0\.1, 0\.1\) must name each average once"),
        ({"ema": {"snapshot_every": 5}}, r"ema\.snapshot_every is 5 and ema\.stds \(\); snapshots are of the averages that stds"),
        ({"guard": {"policy": "rais"}}, r"config\.guard\.policy is 'rais'; did you mean 'raise'\?"),
        ({"optimizer": {"peak_lr": 0.0}}, "peak_lr must be positive"),
    ],
)
def test_wrong_sections_are_sentences(change, message):
    with pytest.raises(ConfigError, match=message):
        structure_run(SECTIONS | change)


@pytest.mark.parametrize(
    ("size", "accumulation", "shards", "message"),
    [
        (30, 1, 8, r"batch_size 30 does not divide over 8 batch shards \(mesh data=8\); set data\.batch_size to 24 or 32"),
        (8, 3, 4, r"over 4 batch shards \(mesh data=8\) and 3 microbatches; set data\.batch_size to 12"),
    ],
)
def test_a_batch_that_does_not_divide_names_the_sizes_that_do(size, accumulation, shards, message):
    with pytest.raises(ConfigError, match=message):
        check_batch(size, accumulation, shards, "data=8")


def test_a_batch_that_divides_passes():
    check_batch(24, 3, 8, "data=8")
