"""The train loop: one loop for every family. It knows the Task contract and nothing of any network, loss or batch."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from genjax.config import config_hash
from genjax.errors import ConfigError, RunError
from genjax.parallel import processes
from genjax.sampling import adopted
from genjax.sampling.measuring import Measuring
from genjax.storage.snapshots import FOLDER as SNAPSHOTS
from genjax.storage.snapshots import remove_later
from genjax.training.averages import save_snapshots
from genjax.training.checkpoints import Checkpoints
from genjax.training.evaluation import Evaluation, averages, make_measuring
from genjax.training.feed import prefetch
from genjax.training.flops import mfu
from genjax.training.metrics import MetricsWriter
from genjax.training.progress import Progress
from genjax.training.run_config import CHANGEABLE, structure_run
from genjax.training.run_directory import RunDirectory
from genjax.training.setup import Plan, make_plan
from genjax.training.signals import StopSignal
from genjax.training.state import TrainState, begun_with
from genjax.training.step import Part, parts_of, spans


@dataclass(frozen=True)
class Result:
    """How a call of `train` ended."""

    step: int
    finished: bool  # False: a signal stopped it; the same command goes on
    metrics: Mapping[str, float]  # of the last evaluation of this call


def train(config: Mapping[str, Any], workdir: Path | str, *, allow_changes: bool = False) -> Result:
    """Trains to `config.train.steps`, from the newest checkpoint in `workdir` if there is one.

    Args:
        config: the nested mapping of a config file.
        workdir: the run directory; created if missing, refused if another process trains there.
        allow_changes: go on in a run whose stored config differs in what determines its numbers.

    Raises:
        GenjaxError: anything that the person at the keyboard can mend.
    """
    processes.initialize()
    run = structure_run(config)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(RunDirectory(workdir))
        keep = lambda: directory.write_config(config, changeable=CHANGEABLE, allow_changes=allow_changes)  # noqa: E731
        begun = (directory.path / "config.json").exists()
        changed = keep() if begun else []
        plan = make_plan(run, cache_dir=directory.path / "data", adopted_dir=directory.path / adopted.FOLDER)
        measuring = make_measuring(plan, directory.path)
        if not begun:  # a config that cannot work is not kept: the corrected one may use the same directory
            keep()
        directory.write_environment({"mesh": dict(plan.mesh.shape), "parameters": plan.parameters})
        if processes.is_main():
            plan.datasets.train.info.save(directory.path)
            adopted.keep(directory.path / adopted.FOLDER, plan.sources)
        loop = stack.enter_context(_Loop(plan, directory.path, config, measuring))
        for line in [f"changed: {line}" for line in changed] + loop.describe():
            loop.say(line)
        return loop.run()


class _Loop(contextlib.AbstractContextManager):
    """The moving parts of one call of `train`."""

    def __init__(self, plan: Plan, path: Path, config: Mapping[str, Any], measuring: Measuring | None):
        self.plan, self.path, self.raw_config = plan, path, config
        self.settings = plan.config.train
        self.unit, self.units_per_step = plan.task.units_per_step
        self.stack = contextlib.ExitStack()
        self.checkpoints = self.stack.enter_context(
            Checkpoints(
                path / "checkpoints",
                keep=self.settings.keep,
                keep_every=self.settings.keep_every,
                asynchronous=self.settings.async_checkpoints,
            )
        )
        self.bar: Progress | None = None
        self.saved_step = -1
        self.programs: dict[Part, Any] = {}  # of the present step's parts, in their order
        self.compile_seconds = 0.0
        self.evaluation = Evaluation(plan, path, measuring, self.say)

    def __exit__(self, *details):
        self.stack.close()

    def say(self, text: str) -> None:
        if not processes.is_main():
            return
        if self.bar is not None:
            self.bar.message(text)
        else:
            print(text, flush=True)

    def describe(self) -> list[str]:
        plan, config = self.plan, self.plan.config
        mesh = " ".join(f"{axis}={size}" for axis, size in plan.mesh.shape.items() if size > 1) or "one device"
        lines = [
            f"run {self.path}: task {config.task.get('name')}, {plan.parameters:,} parameters, "
            f"{self.units_per_step:,} {self.unit} a step, {self.settings.steps:,} steps",
            f"devices: {plan.mesh.size} x {plan.mesh.devices.flat[0].device_kind}, mesh {mesh}",
        ]
        measuring = self.evaluation.measuring
        lines += [f"note: {line}" for line in (*plan.unsharded, *(measuring.notes if measuring else ()))]
        late = [turn for turn in plan.task.turns if turn.start >= self.settings.steps]
        if late:
            first = min(turn.start for turn in late)
            lines.append(f"note: {', '.join(turn.name for turn in late)} would come from step {first:,} on; the run ends before.")
        with plan.context():
            return lines + list(plan.task.notes)

    def start(self) -> tuple[TrainState, int]:
        """The newest good checkpoint, or a fresh state."""
        plan = self.plan
        if self.checkpoints.latest_step() is None:
            state = plan.fresh_state()
            for name, source in plan.sources.items():
                self.say(f"{name}: {source.run} at step {source.step:,}, digest {source.digest}")
            if plan.sources:
                state = begun_with(state, plan.adopted())
            if self.settings.init_from:
                state = begun_with(state, plan.task.pretrained(self.settings.init_from, plan.shardings.variables))
                self.say(f"started from the weights in {self.settings.init_from}")
            return state, 0
        tree, meta, step = self.checkpoints.restore(plan.abstract.as_dict())
        if meta.get("data_fingerprint") != plan.datasets.train.fingerprint:
            raise ConfigError(
                f"the data is not what this run was trained on (fingerprint {plan.datasets.train.fingerprint}, the checkpoint "
                f"has {meta.get('data_fingerprint')}); restore the data files, or start a new run with --workdir."
            )
        self.say(f"resumed from the checkpoint of step {step:,}")
        return TrainState(**tree), int(meta["next_batch"])

    def run(self) -> Result:
        plan, settings, ema = self.plan, self.settings, self.plan.config.ema
        state, next_batch = self.start()
        step = self.saved_step = int(state.step) if next_batch else -1
        step = max(step, 0)
        if step >= settings.steps:
            self.say(
                f"this run is done: {step:,} of {settings.steps:,} steps. To go on, raise --config.train.steps; "
                f"to sample, python sample.py --workdir={self.path}"
            )
            return Result(step, True, {})
        if processes.is_main():
            remove_later(self.path / SNAPSHOTS, step)
        self.compile_step(step)
        edges = {edge for turn in plan.task.turns for edge in (turn.start, turn.stop)} - {step}
        writer = self.stack.enter_context(
            MetricsWriter(self.path, resumed_from=step if next_batch else None, enabled=processes.is_main())
        )
        self.bar = self.stack.enter_context(Progress(settings.steps, initial=step, unit=self.unit, enabled=processes.is_main()))
        signal = self.stack.enter_context(StopSignal())
        reporter = _Reporter(self, writer)
        batches = prefetch(plan, plan.datasets.train, next_batch)
        totals = plan.fresh_totals()
        stopped = False
        reporter.clock.start()
        with plan.context():
            while step < settings.steps and not stopped:
                self._profile(step)
                if step in edges:
                    reporter.flush()
                    with reporter.clock.paused(state):
                        self.compile_step(step)
                batch = next(batches)
                for part, program in self.programs.items():
                    if part.due(step):
                        state, totals = program(state, totals, batch)
                step += 1
                reporter.flush()  # of the interval before: this step is already running on the device
                last = step == settings.steps
                if step % settings.log_every == 0 or last:
                    reporter.hold(step, totals)
                    totals = plan.fresh_totals()
                stopped = signal.stop_after(step)
                due = lambda every, step=step: every and step % every == 0  # noqa: E731
                evaluation, samples = due(settings.eval_every) or last, due(settings.sample_every) or last
                save = due(settings.checkpoint_every) or last or stopped
                snapshot = ema.snapshot_every and (due(ema.snapshot_every) or last)
                measures = settings.measure_every and (due(settings.measure_every) or last)
                self.checkpoints.check()
                if not (evaluation or samples or save or snapshot or measures):
                    continue
                reporter.flush()
                with reporter.clock.paused(state):
                    if evaluation and not (stopped and not last):
                        self.evaluation.evaluate(step, state, writer)
                    if measures and not (stopped and not last):
                        self.evaluation.measure(step, state, writer)
                    # Before the checkpoint of the same step: whoever goes on from there would never come to it again.
                    if snapshot:
                        save_snapshots(self.path / SNAPSHOTS, step, state.ema, ema)
                    if save:
                        self.save(step, state)
                    if samples and not (stopped and not last):
                        self.evaluation.sample(step, state)
        self.checkpoints.wait()
        self.report(step)
        finished = step >= settings.steps
        if finished:
            self.say(f"done: {step:,} steps. Curves: {self.path / 'report.png'}")
        else:
            self.say(f"{signal.name}: saved step {step:,} of {settings.steps:,}; the same command goes on from here.")
        return Result(step, finished, self.evaluation.last)

    def compile_step(self, step: int) -> None:
        """The programs of the parts in whose range a step lies.

        A stage is compiled when it begins, and forgotten when it is over: nobody waits for stages that may never be reached, or
        that were over before a run was resumed, and memory holds the programs of one. The price is that an accelerator too small
        for a later stage says so late; `compile_only` says it before the run. Shapes are checked at the start (`metric_names`).
        """
        began = time.perf_counter()
        parts = [part for part in parts_of(self.plan.task.turns) if spans(part, step)]
        new = [part for part in parts if part not in self.programs]
        self.programs = {part: self.programs.get(part) or self.plan.lower_step(part).compile() for part in parts}
        seconds = time.perf_counter() - began
        self.compile_seconds += seconds
        what = "the train step" if len(new) == len(parts) else ", ".join(name for part in new for name in part.turns)
        if new:
            self.say(f"compiled {what} in {seconds:.1f} s" + (f", {len(new)} parts" if len(new) > 1 else ""))

    def save(self, step: int, state: TrainState) -> None:
        if step == self.saved_step:
            return
        meta = {
            "config": self.raw_config,
            "next_batch": step,
            "data_fingerprint": self.plan.datasets.train.fingerprint,
        }
        if self.checkpoints.save(step, state.as_dict(), meta):
            self.saved_step = step

    def report(self, step: int) -> None:
        if not processes.is_main():
            return
        from genjax.training.report import write_report  # half a second that a run needs at its end

        plan = self.plan
        facts = {
            "task": plan.config.task.get("name"),
            "parameters": f"{plan.parameters:,}",
            f"{self.unit} seen": f"{step * self.units_per_step:,}",
            "devices": f"{plan.mesh.size} x {plan.mesh.devices.flat[0].device_kind}",
            "compile": f"{self.compile_seconds:.1f} s",
            "config": config_hash(self.raw_config),
            **{name.replace("held_out/", "held out "): f"{value:.4g}" for name, value in self.evaluation.last.items()},
        }
        write_report(self.path / "metrics.jsonl", self.path / "report.png", title=self.path.name, facts=facts)

    def _profile(self, step: int) -> None:
        if not self.settings.profile:
            return
        first, last = self.settings.profile
        if step == first:
            jax.profiler.start_trace(str(self.path / "profile"))
            self.stack.callback(_stop_trace)
        elif step == last + 1:
            _stop_trace()
            self.say(f"wrote a profile of steps {first} to {last} to {self.path / 'profile'}; open it with tensorboard or xprof")


class _Reporter:
    """Fetches an interval's metrics one step late, so that the device never waits for the host."""

    def __init__(self, loop: _Loop, writer: MetricsWriter):
        self.loop, self.writer = loop, writer
        self.clock = _Clock()
        self.held: tuple[int, Any] | None = None
        self.reported = None

    def hold(self, step: int, totals) -> None:
        self.held = (step, totals)

    def flush(self) -> None:
        if self.held is None:
            return
        (step, totals), self.held = self.held, None
        totals = jax.device_get(totals)  # waits for step `step`, while the next one is queued
        loop, settings = self.loop, self.loop.settings
        bad, first = totals.pop("bad_step")
        self._judge(step, int(bad), first)
        values = averages(totals)
        if bad:
            values["skipped_steps"] = float(bad)
        steps = step - self.reported if self.reported is not None else min(settings.log_every, step)
        self.reported = step
        seconds = self.clock.lap() / max(steps, 1)
        values["seconds_per_step"] = seconds
        values[f"{loop.unit}_per_second"] = loop.units_per_step / seconds
        flops = sum(loop.plan.task.flops_at(number) for number in range(step - steps, step)) / max(steps, 1)
        use = mfu(flops, seconds, list(loop.plan.mesh.devices.flat))
        if use is not None:
            values["mfu"] = use
        values = dict(loop.plan.task.summarize(values))
        self.writer.write(step, values)
        loop.bar.update(step, values | {"rate": loop.units_per_step / seconds})

    def _judge(self, step: int, bad: int, first: float) -> None:
        guard = self.loop.plan.config.guard
        if not bad or guard.policy == "off":
            return
        where = f"at step {int(first) + 1:,}"
        if guard.policy == "raise":
            last = self.loop.checkpoints.latest_step()
            good = f"the last good checkpoint is of step {last:,}" if last is not None else "there is no checkpoint yet"
            raise RunError(
                f"the loss or gradient was not finite (or spiked) {where}; {good}. Lower config.optimizer.peak_lr, set "
                "config.optimizer.clip_norm, or leave such steps out with --config.guard.policy=skip."
            )
        if bad > guard.max_skipped:
            raise RunError(
                f"{bad} steps up to step {step:,} had a loss or gradient that was not finite, over config.guard.max_skipped "
                f"{guard.max_skipped}; lower config.optimizer.peak_lr or raise the limit."
            )
        self.loop.say(f"step {step:,}: left out {bad} update(s) with a loss or gradient that was not finite, the first {where}")


class _Clock:
    """Time spent training: evaluation, saving and sampling do not count."""

    def start(self) -> None:
        self.since = time.perf_counter()
        self.pause = 0.0

    def lap(self) -> float:
        now = time.perf_counter()
        spent, self.since, self.pause = now - self.since - self.pause, now, 0.0
        return spent

    @contextlib.contextmanager
    def paused(self, state: TrainState):
        jax.block_until_ready(state.step)
        began = time.perf_counter()
        yield
        self.pause += time.perf_counter() - began


def _stop_trace() -> None:
    with contextlib.suppress(RuntimeError):  # no trace under way: it was stopped at its last step
        jax.profiler.stop_trace()
