"""The step over turns: equal to the same arithmetic by hand, whatever the accumulation, the mesh and the kind of task."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from made_up_tasks import FEATURES, Adapter, MovingStatistics, Regression, Stages, TwoPlayers, TwoStages

from genjax.errors import ConfigError
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import batch_sharding, context, make_rules
from genjax.tasks.contract import Turn
from genjax.training.averages import EmaConfig
from genjax.training.optimizers import OptimizerConfig, make_optimizer
from genjax.training.run_config import structure_run
from genjax.training.setup import make_plan
from genjax.training.state import abstract_state, check_turns, make_state
from genjax.training.step import (
    GuardConfig,
    make_train_step,
    metric_names,
    parts_of,
    updates_before,
    zero_totals,
)

TASKS = [Regression(noise=0.0), TwoPlayers(), MovingStatistics(), TwoStages(), Adapter()]
IDS = [type(task).__name__ for task in TASKS]


def batches(count, rows=16):
    rng = np.random.default_rng(0)
    return [
        {
            "x": rng.normal(size=(rows, FEATURES)).astype(np.float32),
            "y": rng.normal(size=(rows, FEATURES)).astype(np.float32),
            "weight": rng.integers(1, 9, size=rows).astype(np.float32),
        }
        for _ in range(count)
    ]


def optimizers_of(task, **settings):
    config = OptimizerConfig(**{"schedule": "constant", "peak_lr": 0.05, "eps": 1e-4} | settings)
    return {turn.optimizer: make_optimizer(config, 100, {}) for turn in task.turns}


def run(task, data, *, mesh=None, accumulation=1, ema=None, guard=None, **settings):
    optimizers = optimizers_of(task, **settings)
    transforms = {name: transform for name, (transform, _) in optimizers.items()}
    ema = ema or EmaConfig()
    mesh = mesh or make_mesh(MeshConfig(), jax.devices()[:1])
    rules = make_rules(())
    _, shardings = abstract_state(task, transforms, ema, mesh, rules)
    with context(mesh, rules):
        create = jax.jit(lambda: make_state(task, jax.random.key(7), transforms, ema), out_shardings=shardings)
        state = create()
        options = {"accumulation": accumulation, "ema": ema, "guard": guard}
        make = lambda part: jax.jit(make_train_step(task, optimizers, part=part, **options), donate_argnums=(0, 1))  # noqa: E731
        parts = [(part, make(part)) for part in parts_of(task.turns)]
        totals = zero_totals(metric_names(task, state.variables, batches(1)[0]))
        for number, batch in enumerate(data):
            placed = {name: jax.device_put(x, batch_sharding(mesh, rules, x.ndim)) for name, x in batch.items()}
            for part, step in parts:
                if part.due(number):
                    state, totals = step(state, totals, placed)
    return state, {name: float(a) / max(float(b), 1e-9) for name, (a, b) in totals.items() if name != "bad_step"}, totals


def close(a, b, rtol=2e-5, atol=2e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


def test_one_step_is_the_optimizer_applied_to_the_gradient_of_the_weighted_mean():
    task, data = Regression(), batches(1)
    state, metrics, _ = run(task, data, name="sgd", b1=0.0)
    before, _, _ = run(task, [])
    loss, gradient = jax.value_and_grad(lambda v: task.loss(v, data[0], jax.random.key(0))[0])(before.variables)
    close(state.variables, jax.tree.map(lambda p, g: p - 0.05 * g, before.variables, gradient))
    assert metrics["loss"] == pytest.approx(float(loss), rel=1e-6)
    assert metrics["gradient_norm"] == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-6)


@pytest.mark.parametrize("task", [Regression(), TwoStages(), Adapter()], ids=["Regression", "TwoStages", "Adapter"])
@pytest.mark.parametrize("accumulation", [2, 4])
def test_accumulation_equals_the_full_batch_although_rows_weigh_differently(task, accumulation):
    data = batches(4)
    full, metrics, _ = run(task, data)
    split, split_metrics, _ = run(task, data, accumulation=accumulation)
    close(full.variables, split.variables)
    assert split_metrics["loss"] == pytest.approx(metrics["loss"], rel=1e-5)


@pytest.mark.parametrize("task", TASKS, ids=IDS)
@pytest.mark.parametrize("axes", [{"data": 8}, {"fsdp": 8, "data": 1}, {"data": 2, "fsdp": 2, "tensor": 2}], ids=str)
def test_eight_devices_make_the_step_of_one(task, axes):
    data = batches(4)
    alone, metrics, _ = run(task, data)
    together, sharded_metrics, _ = run(task, data, mesh=make_mesh(MeshConfig(**axes)))
    close(alone.variables, together.variables, rtol=1e-5, atol=1e-5)
    assert sharded_metrics == pytest.approx(metrics, rel=1e-5)


def test_two_players_take_their_turns_in_their_rhythm():
    task, data = TwoPlayers(), batches(5)
    states = [run(task, data[:n])[0] for n in range(6)]

    def moved(n, name):
        before, after = (states[k].variables[name]["params"]["map"]["kernel"] for k in (n, n + 1))
        return not np.array_equal(before, after)

    assert [moved(n, "generator") for n in range(5)] == [True, False, True, False, True]
    assert all(moved(n, "critic") for n in range(5))
    # The penalty shares the critic's optimizer: five critic updates and those of steps 0 and 4.
    counts = [leaf for leaf in jax.tree.leaves(states[5].optimizers["critic_optimizer"]) if leaf.dtype == jnp.int32]
    assert {int(c) for c in counts} == {7}
    assert [(part.turns, part.every) for part in parts_of(task.turns)] == [
        (("critic",), 1),
        (("penalty",), 4),
        (("generator",), 2),
        ((), 1),
    ]
    made = [updates_before(task.turns, section, 5) for section in ("critic_optimizer", "generator_optimizer")]
    assert made == [7, 3]


def test_stages_come_on_their_steps_alone_and_go_on_from_each_other():
    task, data = Stages(), batches(7)
    state, metrics, totals = run(task, data, name="sgd", b1=0.0)
    variables, losses = run(task, [])[0].variables, []
    for batch, factor in zip(data, (3.0, 3.0, 2.0, 0.0, 2.0, 1.0, 1.0), strict=True):
        loss, gradient = jax.value_and_grad(lambda v, batch=batch: task.loss(v, batch, jax.random.key(0))[0])(variables)
        variables = jax.tree.map(lambda p, g, factor=factor: p - 0.05 * factor * g, variables, gradient)
        losses.append((factor * float(loss), float(batch["weight"].sum()) if factor else 0.0))
    close(state.variables, variables)
    # One curve over all stages, which weighs the steps that came.
    means, weights = zip(*losses, strict=True)
    assert metrics["fit/loss"] == pytest.approx(np.average(means, weights=weights), rel=1e-5)
    assert float(totals["fit/gradient_norm"][1]) == 6 and int(state.step) == 7
    assert {name.split("/")[0] for name in metrics} == {"fit"}
    assert [(part.turns, part.every, part.start, part.stop, part.closes) for part in parts_of(task.turns)] == [
        (("first",), 1, 0, 2, False),
        (("second",), 2, 2, 5, False),
        (("third",), 1, 5, None, False),
        ((), 1, 0, None, True),
    ]


def test_updates_are_counted_within_ranges():
    turns = (*Stages().turns, Turn("late", (), None, every=4, start=3, stop=18), Turn("other", (), None, "other_optimizer"))
    traced = jax.jit(lambda step: updates_before(turns, "optimizer", step))
    for step in range(25):
        due = lambda turn, n: turn.start <= n < (turn.stop or 99) and n % turn.every == 0  # noqa: E731
        made = sum(due(turn, n) for turn in turns[:-1] for n in range(step))
        assert updates_before(turns, "optimizer", step) == made == int(traced(step))
    assert updates_before(turns, "other_optimizer", 24) == 24


def test_a_schedule_ends_with_the_last_update_of_its_section():
    config = {
        "task": {"name": "gan", "network": "points", "critic_steps": 5},
        "data": {"name": "mixture", "batch_size": 8},
        "generator_optimizer": {"schedule": "linear", "peak_lr": 1.0},
        "discriminator_optimizer": {"schedule": "linear", "peak_lr": 1.0},
        "train": {"steps": 20},
    }
    optimizers = make_plan(structure_run(config), with_data=False).optimizers
    rates = {name: [float(schedule(count)) for count in (2, 4, 10, 20)] for name, (_, schedule) in optimizers.items()}
    assert rates == {
        "generator_optimizer": [0.5, 0.0, 0.0, 0.0],
        "discriminator_optimizer": pytest.approx([0.9, 0.8, 0.5, 0.0]),
    }


def test_turn_metrics_are_averaged_over_the_steps_on_which_the_turn_came():
    _, metrics, totals = run(TwoPlayers(), batches(5))
    assert float(totals["penalty/gradient_norm"][1]) == 2
    assert float(totals["generator/gradient_norm"][1]) == 3
    assert float(totals["critic/gradient_norm"][1]) == 5
    assert metrics["critic/loss"] > 0


def test_moving_statistics_are_those_of_every_microbatch_in_order():
    task, data = MovingStatistics(), batches(3)
    state, _, _ = run(task, data, accumulation=2)
    mean = np.zeros(FEATURES)
    for batch in data:
        for micro in (batch["x"][0::2], batch["x"][1::2]):
            mean = 0.9 * mean + 0.1 * micro.mean(0)
    stats = state.variables["net"]["batch_stats"]
    np.testing.assert_allclose(stats["mean"], mean, rtol=1e-5, atol=1e-7)
    assert int(stats["seen"]) == 6


def test_frozen_components_stay_bitwise_and_have_no_optimizer_memory():
    task = TwoStages()
    before, _, _ = run(task, [])
    after, _, _ = run(task, batches(3))
    jax.tree.map(np.testing.assert_array_equal, before.variables["encoder"], after.variables["encoder"])
    assert "encoder" not in str(jax.tree_util.tree_structure(after.optimizers))


def test_an_adapter_trains_alone():
    task = Adapter()
    before, _, _ = run(task, [])
    after, _, _ = run(task, batches(3))
    old, new = before.variables["net"]["params"], after.variables["net"]["params"]
    for path in (("up", "kernel"), ("up", "bias"), ("down", "kernel")):
        np.testing.assert_array_equal(old[path[0]][path[1]], new[path[0]][path[1]])
    assert not np.array_equal(old["up"]["adapter_out"], new["up"]["adapter_out"])
    moments = [leaf.shape for leaf in jax.tree.leaves(after.optimizers) if leaf.ndim]
    assert sorted(moments) == sorted([(FEATURES, 2), (2, 16)] * 2)


def test_ema_follows_its_recurrence():
    task, data = Regression(), batches(3)
    state, _, _ = run(task, data, ema=EmaConfig(decays=(0.9, 0.5), warmup=True))
    kernels = [run(task, data[:n])[0].variables["net"]["params"]["up"]["kernel"] for n in range(4)]
    expected = np.asarray(kernels[0])
    for n, kernel in enumerate(kernels[1:]):
        rate = min(0.9, (1 + n) / (10 + n))
        expected = rate * expected + (1 - rate) * np.asarray(kernel)
    np.testing.assert_allclose(state.ema["0.9"]["net"]["params"]["up"]["kernel"], expected, rtol=1e-6, atol=1e-7)
    assert set(state.ema) == {"0.9", "0.5"}


def test_power_function_averages_weigh_steps_by_their_integral():
    """Beside exponential ones, which they do not change."""
    task, data = Regression(), batches(5)
    ema = EmaConfig(decays=(0.9,), stds=(0.05, 0.2))
    state, _, _ = run(task, data, ema=ema)
    kernel = lambda tree: np.asarray(tree["net"]["params"]["up"]["kernel"])  # noqa: E731
    kernels = [kernel(run(task, data[:n])[0].variables) for n in range(1, 6)]
    for std, gamma in ((0.05, 16.9722), (0.2, 1.82621)):
        shares = np.diff((np.arange(6) / 5) ** (gamma + 1))
        np.testing.assert_allclose(kernel(state.ema[f"std{std}"]), np.tensordot(shares, kernels, 1), rtol=1e-4, atol=1e-6)
    assert set(state.ema) == set(ema.names) == {"0.9", "std0.05", "std0.2"}
    alone, _, _ = run(task, data, ema=EmaConfig(decays=(0.9,)))
    np.testing.assert_array_equal(kernel(state.ema["0.9"]), kernel(alone.ema["0.9"]))


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted():
    task, data = Regression(), batches(3)
    poisoned = [data[0], data[1] | {"x": np.full_like(data[1]["x"], np.nan)}, data[2]]
    state, metrics, totals = run(task, poisoned, guard=GuardConfig("skip"))
    clean, _, _ = run(task, [data[0], data[2]])
    close(state.variables, clean.variables)
    assert int(state.step) == 3
    count, first = totals["bad_step"]
    assert (float(count), float(first)) == (1, 1)
    assert np.isfinite(list(metrics.values())).all()


def test_a_spike_is_left_out_once_the_mean_norm_has_settled():
    task, data = Regression(), batches(130)
    spiked = [*data[:120], data[120] | {"y": data[120]["y"] * 1e4}]
    guard = GuardConfig("skip", spike_factor=5.0)
    state, _, totals = run(task, spiked, guard=guard)
    before, _, _ = run(task, data[:120], guard=guard)
    jax.tree.map(np.testing.assert_array_equal, state.variables, before.variables)
    assert float(totals["bad_step"][1]) == 120


def test_noise_depends_on_root_key_and_step_alone():
    first, metrics, _ = run(Regression(noise=0.5), batches(3))
    again, _, _ = run(Regression(noise=0.5), batches(3), mesh=make_mesh(MeshConfig()))
    close(first.variables, again.variables)
    quiet, quiet_metrics, _ = run(Regression(noise=0.0), batches(3))
    assert metrics["loss"] != quiet_metrics["loss"]


def test_turns_that_cannot_work_are_refused_with_a_sentence():
    class Nothing(Regression):
        turns = (Turn("lost", ("nett/*",), None),)

    class Disagree(TwoPlayers):
        @property
        def turns(self):
            return (Turn("a", ("critic/*",), None), Turn("b", ("generator/*",), None))

    class Ranges(Regression):
        ranges = ((0, None), (4, 8))

        @property
        def turns(self):
            names = zip("ab", self.ranges, strict=True)
            return tuple(Turn(name, ("net/*",), None, start=start, stop=stop, prefix="fit") for name, (start, stop) in names)

    class Never(Ranges):
        ranges = ((0, 4), (4, 4))

    variables = run(Regression(), [])[0].variables
    with pytest.raises(ConfigError, match="turns 'a' and 'b' would report under one name on the same steps"):
        check_turns(Ranges(), variables)
    with pytest.raises(ConfigError, match="turn 'b' comes from step 4 on and before 4: that is no step"):
        check_turns(Never(), variables)
    with pytest.raises(ConfigError, match=r"turn 'lost' trains nothing.*nett/\*.*net/params"):
        check_turns(Nothing(), variables)
    with pytest.raises(ConfigError, match="share the optimizer section 'optimizer' must train the same leaves"):
        check_turns(Disagree(), run(TwoPlayers(), [])[0].variables)
