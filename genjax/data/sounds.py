"""Sounds to be made (`data.name = "sounds"`): WAV files as frames of features or as waves, labelled by text and speaker."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from genjax.config import structure
from genjax.data.checks import check_limits
from genjax.data.dataset import Batches, Dataset, Datasets, Reading
from genjax.data.found import save_found
from genjax.data.hashing import digest
from genjax.data.sources.sounds import Sound, Sounds
from genjax.data.spectrogram import Spectrogram
from genjax.data.speech import NOT_IN_ROWS, split_sounds
from genjax.errors import ConfigError, DataError

FORMAT = "1"  # of the rows: change it when the same config gives other batches than before


@dataclass(frozen=True)
class SoundsDataConfig:
    """The config section `data` of sounds that a model learns to make. They are held in memory."""

    name: str = "sounds"
    path: str = ""  # a folder or a zip of WAV files ($NAME and ~ are expanded)
    # Where the labels are. "": in metadata.jsonl, with file_name, text and perhaps speaker; else a regular expression over the
    # files' names without ending, with the group `text` and perhaps `speaker`.
    name_pattern: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)  # what stands for a text that was found, such as "7": "seven"
    labels: tuple[Literal["text", "speaker"], ...] = ("text",)  # what sounds are labelled by; () for none
    held_out_speakers: tuple[str, ...] = ()
    evaluation_fraction: float = 0.1  # chosen by the hash of the name, where no speakers are held out
    batch_size: int = 32  # sounds of a global batch, over all processes
    sample_rate: int = 8000  # to which sounds are brought
    features: Literal["mel", "wave"] = "mel"  # frames of 10 ms by bands (`Spectrogram`), or samples, their peak at 1
    num_mels: int = 64
    range_db: float = 60.0
    frames: int = 64  # of 10 ms; longer sounds are left out and counted, and silence follows shorter ones
    shift: bool = True  # whether a sound begins anywhere in the silence that it leaves; otherwise at the start
    shuffle: bool = True
    values: tuple[tuple[str, ...], ...] = ()  # of each label, by name; () takes them as found, sorted
    # How it is read. None of these changes a batch.
    num_threads: int = 2
    num_workers: int = 0
    prefetch: int = 8
    cache_dir: str = ""  # nothing is cached

    def __post_init__(self):
        check_limits(self, positive=("num_mels", "frames"))
        if self.sample_rate < 1000 or self.sample_rate % 200:
            raise ConfigError(f"data.sample_rate is {self.sample_rate}; it must be 1,000 or more and a multiple of 200.")
        if self.values and len(self.values) != len(self.labels):
            raise ConfigError(f"data.values has {len(self.values)} lists for {len(self.labels)} data.labels; give one for each.")
        if self.range_db <= 0:
            raise ConfigError(f"data.range_db is {self.range_db}; it must be above 0.")

    @property
    def spectrogram(self) -> Spectrogram:
        return Spectrogram(self.sample_rate, self.num_mels, self.frames, self.range_db)


@dataclass(frozen=True)
class SoundsInfo:
    """A dataset of sounds in figures.

    Attributes:
        spectrogram: what the features are of; its length also of waves.
        attributes: what a sound is labelled with: names with their values.
        num_rows: of an epoch, `seconds` long in all; left_out beside them, for their length.
    """

    batch_size: int
    spectrogram: Spectrogram
    features: Literal["mel", "wave"]
    attributes: tuple[tuple[str, tuple[str, ...]], ...]
    num_rows: int = 0
    seconds: float = 0.0
    left_out: int = 0

    def save(self, run: Path) -> None:
        """Leaves in the run directory what its data said of itself."""
        save_found(run, {"values": [values for _, values in self.attributes]})

    def __str__(self) -> str:
        s = self.spectrogram
        form = f"{s.frames} frames of {s.num_mels} bands" if self.features == "mel" else f"{s.samples:,} samples"
        labels = "".join(f", {len(values)} of {name}" for name, values in self.attributes)
        longer = f"; {self.left_out:,} left out that are longer" if self.left_out else ""
        return f"{self.num_rows:,} sounds of {self.seconds / 60:,.1f} minutes, as {form} each{labels}{longer}"


@dataclass(frozen=True, eq=False)
class SoundRows:
    """A sound a row: features [frames, bands] or [samples, 1], label, mask (1; the rows that fill a last batch have 0)."""

    sounds: tuple[Float[np.ndarray, " samples"], ...]
    labels: Int[np.ndarray, "sounds attributes"]
    config: SoundsDataConfig
    seed: int | None  # of where sounds begin; None: at the start

    @property
    def num_rows(self) -> int:
        return len(self.sounds)

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        c, whole = self.config, np.dtype(np.int32)
        shape = (c.frames, c.num_mels) if c.features == "mel" else (c.spectrogram.samples, 1)
        labels = self.labels.shape[1:]
        given = {"label": (labels if labels != (1,) else (), whole)} if labels[0] else {}
        return {"features": (shape, np.dtype(np.float32)), "mask": ((), whole)} | given

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        pairs = zip(epochs.tolist(), rows.tolist(), strict=True)
        batch = {"features": np.stack([self._features(*pair) for pair in pairs]), "mask": np.ones(len(rows), np.int32)}
        if "label" in self.columns:
            labels = self.labels[rows]
            batch["label"] = labels[:, 0] if labels.shape[1] == 1 else labels
        return batch

    def _features(self, epoch: int, row: int) -> Float[np.ndarray, "places channels"]:
        samples, spectrogram = self.sounds[row], self.config.spectrogram
        if self.seed is not None and self.config.shift:
            rng = np.random.default_rng([self.seed & 0xFFFFFFFF, epoch, row])
            samples = np.pad(samples, (int(rng.integers(spectrogram.samples - len(samples) + 1)), 0))
        if self.config.features == "mel":
            return spectrogram(samples)
        wave = np.pad(samples, (0, spectrogram.samples - len(samples)))
        return (wave / max(np.abs(wave).max(), 1e-4))[:, None].astype(np.float32)


def build_sounds(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`."""
    config = structure(SoundsDataConfig, config, "config.data")
    source = Sounds(config.path, config.name_pattern, config.texts, config.sample_rate)
    parts = split_sounds(config, list(source))
    values = _values(config, [sound for part in parts for sound in part])
    shape = {name: value for name, value in asdict(config).items() if name not in (*NOT_IN_ROWS, "values")}
    fingerprint = digest(FORMAT, source.fingerprint, repr(sorted(shape.items())), str(seed))
    train, held_out = parts
    evaluation = _dataset(config, held_out, values, fingerprint, None) if held_out else None
    return Datasets(_dataset(config, train, values, fingerprint, seed), evaluation)


def describe_sounds(config: Mapping[str, Any], tokenizer: Any = None) -> SoundsInfo:
    """See `genjax.data.describe`."""
    c = structure(SoundsDataConfig, config, "config.data")
    return SoundsInfo(c.batch_size, c.spectrogram, c.features, tuple(zip(c.labels, c.values, strict=False)))


def _values(config: SoundsDataConfig, sounds: list[Sound]) -> tuple[tuple[str, ...], ...]:
    """Of each label. Raises DataError: one that was found and is not among those that the config names."""
    found = tuple(tuple(sorted({getattr(sound, label) for sound in sounds})) for label in config.labels)
    if not config.values:
        return found
    for label, known, here in zip(config.labels, config.values, found, strict=True):
        if unknown := sorted(set(here) - set(known)):
            raise DataError(f"{config.path} has the {label} {unknown[0]!r}, which data.values does not name: {', '.join(known)}.")
    return config.values


def _dataset(
    config: SoundsDataConfig, sounds: list[Sound], values: tuple[tuple[str, ...], ...], fingerprint: str, seed: int | None
) -> Dataset:
    """A training dataset when there is a seed, otherwise an evaluation dataset: in order, finite, nothing shifted."""
    longest = config.spectrogram.samples
    kept = [sound for sound in sounds if len(sound.samples) <= longest]
    if not kept:
        part = "training" if seed is not None else "held-out"
        raise DataError(f"all {len(sounds):,} {part} sounds are longer than data.frames {config.frames}, of 10 ms; allow more.")
    numbers = [[known.index(getattr(s, label)) for label, known in zip(config.labels, values, strict=True)] for s in kept]
    labels = np.array(numbers, np.int32).reshape(len(kept), len(values))
    rows = SoundRows(tuple(sound.samples for sound in kept), labels, config, seed)
    info = SoundsInfo(
        config.batch_size,
        config.spectrogram,
        config.features,
        tuple(zip(config.labels, values, strict=True)),
        len(kept),
        sum(len(sound.samples) for sound in kept) / config.sample_rate,
        len(sounds) - len(kept),
    )
    batches = Batches(rows, config.batch_size, seed if config.shuffle else None, endless=seed is not None)
    return Dataset(info, fingerprint, batches, Reading(config.num_threads, config.num_workers, config.prefetch))
