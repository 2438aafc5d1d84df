"""The schedule of progressive growing against the formula of the paper's code, image by image."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.adversarial.growth import Growth, GrowthConfig
from genjax.errors import ConfigError


def published(images, first, last, fade, stay):
    """Stage and alpha by the level of detail of the paper's code, which counts whole phases of staying and fading."""
    phase, within = divmod(images, stay + fade)
    detail = max(Fraction(last - first - phase) - Fraction(max(within - stay, 0), fade), Fraction(0))
    return last - int(detail), 1 - (detail - int(detail))


@pytest.mark.parametrize("first_size, last, fade, stay, rows", [(4, 3, 40, 24, 8), (8, 2, 50, 33, 12), (4, 1, 6, 9, 4)])
def test_every_step_is_at_the_resolution_and_alpha_of_its_last_image(first_size, last, fade, stay, rows):
    growth = Growth(GrowthConfig(first_size, fade, stay), last, rows)
    steps = np.arange(2 * (fade + stay) * (last + 1) // rows)
    shown = jax.vmap(growth.whole_steps)(jnp.asarray(steps * rows))
    expected = [published(int(images), growth.first, last, fade, stay) for images in shown]
    np.testing.assert_array_equal(shown, (steps + 1) * rows)
    np.testing.assert_array_equal(jax.vmap(growth.stage)(shown), [stage for stage, _ in expected])
    for stage in growth.stages:
        start, stop = growth.steps(stage)
        own = [step for step, (found, _) in zip(steps, expected, strict=True) if found == stage]
        assert own == [step for step in steps if step >= start and (stop is None or step < stop)]
        alphas = jax.vmap(lambda images, stage=stage: growth.alpha(stage, images))(shown[own[0] :][: len(own)])
        wanted = [1 if stage == growth.first else expected[step][1] for step in own]
        np.testing.assert_allclose(alphas, np.array(wanted, np.float32), rtol=2e-7)  # XLA multiplies by the rounded reciprocal
        assert alphas.min() > 0
    # Microbatches of a step have the alpha of its end, whatever the earlier ones have counted.
    assert [int(growth.whole_steps(rows + part)) for part in range(rows)] == [2 * rows] * rows


def test_a_resolution_may_come_at_once():
    growth = Growth(GrowthConfig(4, 0, 8), 1, 4)
    assert growth.steps(0) == (0, 2) and growth.steps(1) == (2, None)
    assert float(growth.alpha(1, 12)) == 1 and int(growth.stage(8)) == 0 and int(growth.stage(12)) == 1


def test_published_stages_begin_where_the_paper_says():
    """600 thousand images of 4x4, then 1.2 million of each; 1024x1024 begins after 9 million."""
    growth = Growth(GrowthConfig(), 8, 16)
    assert [growth.begin(stage) for stage in growth.stages] == [0, *range(600_000, 9_000_001, 1_200_000)]
    assert growth.steps(8) == (562_500, None)


def test_messages():
    calls = {
        "growth.first_size is 6; it must be a power of 2, and 4 or more": lambda: GrowthConfig(first_size=6),
        "must be 0 or more, but are -1 and 4": lambda: GrowthConfig(fade_images=-1, stay_images=4),
        "growth.first_size 16 is larger than the images, 8x8": lambda: Growth(GrowthConfig(16), 1, 4),
        "growth.stay_images is 3, less than a batch of 4": lambda: Growth(GrowthConfig(4, 8, 3), 1, 4),
    }
    for message, call in calls.items():
        with pytest.raises(ConfigError, match=message):
            call()
