"""What each objective and penalty learns of Gaussians in a ring and in a grid, and what the gauge says of it.

Whole runs of the task's own turns, as one compiled loop over steps whose data is drawn on the device.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.training.run_config import structure_run
from genjax.training.setup import make_plan
from genjax.training.state import make_state, merge
from genjax.training.step import make_train_step, metric_names, parts_of, zero_totals

RING = {"arrangement": "ring", "modes": 8, "deviation": 0.05}
GRID = {"arrangement": "grid", "modes": 25, "deviation": 0.05}
ROWS = 128
R1 = {"objective": "non_saturating", "r1": 0.1}
WGAN_GP = {"objective": "wasserstein", "critic_steps": 5, "gradient_penalty": 0.1}


def trained(task, mixture, steps, peak_lr=1e-3, b1=0.5):
    """What the task tells of held-out points after so many steps, by the generator's average."""
    adam = {"name": "adam", "schedule": "linear", "peak_lr": peak_lr, "b1": b1, "b2": 0.9}
    config = {
        "task": {"name": "gan", "network": "points", "model": {"widths": (128, 128)}} | task,
        "data": {"name": "mixture", "batch_size": ROWS} | mixture,
        **{"generator_optimizer": adam, "discriminator_optimizer": adam},
        "ema": {"decays": (0.99,), "include": ("generator/*",)},
        "train": {"steps": steps},
    }
    plan = make_plan(structure_run(config), with_data=False)
    task, ema = plan.task, plan.config.ema
    parts = [(part.every, make_train_step(task, plan.optimizers, part=part, ema=ema)) for part in parts_of(task.turns)]
    centers, deviation = jnp.asarray(task.info.centers), task.info.deviation

    def batch_of(key, rows=ROWS):
        label_key, noise_key = jax.random.split(key)
        label = jax.random.randint(label_key, (rows,), 0, len(centers))
        point = centers[label] + deviation * jax.random.normal(noise_key, (rows, 2))
        return {"point": point, "label": label, "mask": jnp.ones(rows, jnp.int32)}

    def step(carry, key):
        batch, number = batch_of(key), carry[0].step
        for every, part in parts:
            play = functools.partial(part, batch=batch)
            carry = play(*carry) if every == 1 else jax.lax.cond(number % every == 0, play, lambda *old: old, *carry)
        return carry, None

    @jax.jit
    def run():
        state = make_state(task, jax.random.key(0), {name: t for name, (t, _) in plan.optimizers.items()}, ema)
        totals = zero_totals(metric_names(task, state.variables, batch_of(jax.random.key(0))))
        (state, _), _ = jax.lax.scan(step, (state, totals), jax.random.split(jax.random.key(1), steps))
        variables = merge(state.variables, state.ema[ema.names[0]])
        return task.evaluate(variables, batch_of(jax.random.key(2), 2000), jax.random.key(3))

    return task.summarize({name: float(total) / float(weight) for name, (total, weight) in run().items()})


@pytest.mark.parametrize(("task", "steps"), [(R1, 3000), (WGAN_GP, 5000)], ids=["r1", "wgan-gp"])
def test_every_gaussian_of_the_ring_is_covered(task, steps):
    found = trained(task, RING, steps)
    assert found["modes"] == 8 and found["within"] > 0.4 and found["diversity"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("task", "steps", "adam"),
    [(R1, 9000, {"peak_lr": 2e-3}), (WGAN_GP, 10_000, {"peak_lr": 6e-3, "b1": 0.0})],
    ids=["r1", "wgan-gp"],
)
def test_every_gaussian_of_the_grid_is_covered(task, steps, adam):
    found = trained(task, GRID, steps, **adam)
    assert found["modes"] == 25 and found["diversity"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("objective", ["minimax", "least_squares", "hinge"])
def test_the_other_objectives_train(objective):
    found = trained({"objective": objective, "r1": 0.1}, RING, 2000)
    assert found["modes"] >= 6 and np.isfinite(found["logit_real"])


def test_the_gauge_shows_a_collapse():
    """Steps a hundred times too large, and nothing that holds the critic's slope: all samples come to lie in few places."""
    found = trained({"objective": "hinge"}, RING, 1000, peak_lr=1e-1, b1=0.9)
    assert found["modes"] <= 2 and found["diversity"] < 0.5
