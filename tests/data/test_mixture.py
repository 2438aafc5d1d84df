"""Mixtures of Gaussians: where the points lie, and that they are the same whoever asks."""

import numpy as np
import pytest

from genjax import data
from genjax.errors import ConfigError


def build(seed=0, **config):
    return data.build({"name": "mixture", "batch_size": 100} | config, seed=seed, cache_dir=None)


@pytest.mark.parametrize(("arrangement", "modes"), [("ring", 8), ("grid", 25)])
def test_points_are_of_the_gaussians_that_they_say(arrangement, modes):
    built = build(arrangement=arrangement, modes=modes, deviation=0.05, num_points=20_000, batch_size=20_000, shuffle=False)
    rows, info = built.train.batch(0), built.train.info
    centers = np.array(info.centers)
    assert np.bincount(rows["label"], minlength=modes).min() > 0.85 * 20_000 / modes
    away = (rows["point"] - centers[rows["label"]]) / 0.05
    np.testing.assert_allclose(away.mean(0), 0, atol=5 / np.sqrt(20_000))
    np.testing.assert_allclose(np.cov(away.T), np.eye(2), atol=5 * np.sqrt(2 / 20_000))
    assert abs((np.square(away).sum(1) < 2 * np.log(2)).mean() - 0.5) < 0.02  # half of a normal pair
    distances = np.linalg.norm(centers[:, None] - centers[None], axis=-1) + 9 * np.eye(modes)
    expected = 4 * np.sin(np.pi / 8) if arrangement == "ring" else 1.0
    np.testing.assert_allclose(distances.min(1), expected)
    assert len(info.attributes[0][1]) == modes and f"of {modes} Gaussians" in str(info)


def test_rows_are_addressable_and_held_out_points_are_others():
    one, two = build(num_points=300), build(num_points=300)
    whole = one.train.batch(1)
    half = two.train.batch(1, process_index=1, process_count=2)
    np.testing.assert_array_equal(whole["point"][50:], half["point"])
    epochs = [np.concatenate([one.train.batch(3 * epoch + i)["point"] for i in range(3)]) for epoch in range(2)]
    assert not np.array_equal(*epochs)
    np.testing.assert_array_equal(*(np.sort(points, axis=0) for points in epochs))
    held_out = one.evaluation.batch(0)["point"]
    assert not set(map(tuple, held_out)) & set(map(tuple, epochs[0]))
    assert one.train.fingerprint != build(num_points=300, deviation=0.03).train.fingerprint
    assert build(evaluation_points=0).evaluation is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"arrangement": "grid", "modes": 8}, "makes no square grid; use 4 or 9"),
        ({"modes": 0}, "data.modes is 0"),
        ({"deviation": 0.0}, "must be positive"),
        ({"arrangement": "star"}, "star"),
        ({"num_threads": -1}, "data.num_threads is -1"),
    ],
)
def test_bad_configs(values, message):
    with pytest.raises(ConfigError, match=message):
        data.describe({"name": "mixture"} | values)
