"""Figures of what a task makes, by networks that are not its own: one way for finished checkpoints and for a run under way."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jax.sharding import Mesh

from genjax import data
from genjax.data.dataset import Dataset
from genjax.data.shapes import ShapesInfo
from genjax.errors import ConfigError, RequestError
from genjax.evaluation.images.collection import Collection, collect
from genjax.evaluation.images.features import FeatureNetwork
from genjax.evaluation.images.inception import inception_network
from genjax.evaluation.images.measures import MeasureConfig, measure, remarks
from genjax.evaluation.images.reference import cached_reference
from genjax.interop.inception import SHA256
from genjax.sampling.judges import Judge, agreement, class_judge, feature_network, judge_of, shapes_judge, spread, stacked
from genjax.sampling.loop import Sampler
from genjax.sampling.requests import make_requests
from genjax.tasks.contract import Artifact, Task, Variables
from genjax.tasks.media import FramedSounds, Images


@dataclass(frozen=True)
class MeasuringConfig:
    """The section `config.measure`. Paths may begin with ~ and hold $NAMES of the environment."""

    features: str = ""  # a run of task classification or contrastive, by whose features images are measured
    inception: str = ""  # a file with the published Inception weights, by which images are measured
    inception_sha256: str = SHA256  # of that file
    judge: str = ""  # a run of a classifier or recognizer that says what samples show; "": `features`
    samples: int = 1000  # how many are made
    reference: Literal["train", "held_out"] = "train"  # which real images
    request: Mapping[str, Any] = field(default_factory=dict)  # further fields of the task's request, such as steps
    seed: int = 0  # of the samples

    def __post_init__(self):
        if self.samples < 2:
            raise ConfigError(f"samples is {self.samples}; measure 2 or more.")


@dataclass(frozen=True, eq=False)
class Measured:
    """What was found.

    Attributes:
        figures: names as the command `genjax.sampling.sample_evaluation` writes them.
        notes: sentences without which the figures would be misread.
        artifacts: the samples.
    """

    figures: Mapping[str, float]
    notes: tuple[str, ...]
    artifacts: Sequence[Artifact]


class Measuring:
    """Networks that look at what a task makes, with what they saw of real images: opened once, for any number of variables.

    Args:
        config: the section.
        task: whose samples are measured.
        run: the run's config, of which `data` and `seed` say which images are real.
        workdir: the run; what networks see of its real images is kept in its folder `cache`.
        mesh: the devices over which the networks are laid; None: the default device.
        report: receives a line before what takes long.

    Attributes:
        idle: whether nothing is there to measure with.
        notes: sentences without which figures of so many samples would be misread.

    Raises:
        GenjaxError: samples that cannot be measured, a request that the task does not serve, networks or data that cannot be
            read.
    """

    def __init__(
        self,
        config: MeasuringConfig,
        task: Task,
        run: Mapping[str, Any],
        workdir: Path | str,
        *,
        mesh: Mesh | None = None,
        report: Callable[[str], None] = lambda _: None,
    ):
        self.config = c = config
        self.measures = MeasureConfig(kernel_subset_size=min(1000, c.samples), score_splits=max(1, min(10, c.samples // 100)))
        if (c.features or c.inception) and c.samples <= max(self.measures.neighbours):
            raise RequestError(f"samples is {c.samples}; measures by neighbours need more than {max(self.measures.neighbours)}.")
        _check_samples(task, bool(c.features or c.inception))
        (self.request,) = make_requests(task.request_type, {**c.request, "num_samples": c.samples})
        task.prepare([self.request])  # whose complaints must not wait until there is something to sample
        networks = [feature_network(_expanded(c.features), mesh)] if c.features else []
        networks += [inception_network(_expanded(c.inception), c.inception_sha256, mesh=mesh)] if c.inception else []
        info = getattr(task, "info", None)
        self.judge: Judge | None = None
        if c.judge:
            self.judge = judge_of(_expanded(c.judge), mesh)
        elif c.features and networks[0].classes and getattr(info, "attributes", ()):
            self.judge = class_judge(networks[0])
        elif isinstance(info, ShapesInfo):
            self.judge = shapes_judge(info)
        self.idle = not networks and self.judge is None
        real = own_data(run, workdir, c.reference) if networks else None
        self.seen = [(network, self._reference(network, workdir, real, report)) for network in networks]
        self.notes = tuple(note for _, reference in self.seen for note in remarks(c.samples, reference, self.measures))

    def __call__(self, sampler: Sampler, variables: Variables, *, progress: bool = False) -> Measured:
        """Figures of samples; the same variables give the same ones.

        Args:
            sampler: of the task.
            progress: a bar over the batches.
        """
        artifacts = sampler(variables, [self.request], seed=self.config.seed, progress=progress)
        figures: dict[str, float] = {}
        for network, reference in self.seen:
            figures |= measure(collect(network, [stacked(artifacts)]), reference, self.measures).figures
        labelled = "label" in artifacts[0].metadata
        if self.judge and (labelled or self.config.judge or self.config.features):
            shown = self.judge(artifacts)
            if labelled:
                figures |= agreement([artifact.metadata["label"] for artifact in artifacts], shown)
            if "class" in shown[0]:
                figures |= spread(shown)
        return Measured(figures, self.notes, artifacts)

    def _reference(
        self, network: FeatureNetwork, workdir: Path | str, real: Dataset, report: Callable[[str], None]
    ) -> Collection:
        """The features of the run's own images, and their balls' radii; kept in the run."""

        def make() -> Collection:
            report(f"{network.name} looks at {real.batches.rows.num_rows:,} real images, once")
            found = collect(network, images_of(real))
            found.radii(self.measures.neighbours)
            return found

        fingerprint = f"{real.fingerprint}-{self.config.reference}"
        return cached_reference(Path(workdir) / "cache", network.name, fingerprint, make, "--workdir")


def own_data(run: Mapping[str, Any], workdir: Path | str, part: Literal["train", "held_out"]) -> Dataset:
    """A run's own images, as they are before any augmentation, in order; not the codes that stand for them.

    Args:
        run: its config.

    Raises:
        GenjaxError: data that cannot be read, or a run that held nothing out.
    """
    section = {key: value for key, value in run["data"].items() if key not in ("augmentation", "codes")} | {"shuffle": False}
    datasets = data.build(section, seed=run.get("seed", 0), cache_dir=Path(workdir) / "data")
    dataset = datasets.train if part == "train" else datasets.evaluation
    if dataset is None:
        raise RequestError(f"{workdir} held nothing out; let the reference be train, and leave likelihood out.")
    return dataset


def _check_samples(task: Task, by_features: bool) -> None:
    """Raises RequestError: a task whose samples are no images or sounds, or are made of what a person gives."""
    medium = getattr(task, "medium", None)
    fields = {one.name for one in dataclasses.fields(task.request_type)} if task.request_type else set()
    if not isinstance(medium, Images | FramedSounds) or "num_samples" not in fields:
        raise RequestError(
            f"{type(task).__name__} makes no images or sounds from noise; only such samples are measured, those of tasks "
            "'diffusion' and 'gan'."
        )
    if by_features and not isinstance(medium, Images):
        raise RequestError(f"features and inception are of images, but {type(task).__name__} makes sounds here; name a judge.")


def _expanded(path: str) -> str:
    return os.path.expanduser(os.path.expandvars(path))


def images_of(dataset: Dataset) -> Iterator[np.ndarray]:
    """One epoch, in order, in three channels."""
    left = dataset.batches.rows.num_rows
    for batch in dataset.iterate():
        images = batch["image"][:left]
        yield np.broadcast_to(images, (*images.shape[:3], 3))
        left -= len(images)
        if not left:
            return
