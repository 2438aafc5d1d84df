"""Rows of speech: features of sounds, changed anew in each epoch, and the texts that are said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from genjax.config import check_least
from genjax.data.log_mel import LogMel
from genjax.errors import ConfigError


@dataclass(frozen=True)
class SpeechAugmentation:
    """How sounds are changed in training; every change is drawn uniformly. 0 leaves it out.

    A change of speed moves the pitch and the formants with it, as another throat would (Ko et al., 2015). Masks take the mean of
    the features (SpecAugment, Park et al., 2019).
    """

    speed: float = 0.0  # at most so much faster or slower: 0.1 is 0.9 to 1.1 times
    shift: float = 0.0  # seconds of silence before the sound, at most
    gain: float = 0.0  # decibels, louder or softer
    noise: float = 0.0  # standard deviation of white noise, at most so much times that of the sound
    band_masks: int = 0  # stretches of bands that are hidden
    band_width: int = 8  # of such a stretch, at most
    time_masks: int = 0  # stretches of frames that are hidden
    time_width: int = 10

    def __post_init__(self):
        if not 0 <= self.speed < 1:
            raise ConfigError(f"data.augmentation.speed is {self.speed}; it must be at least 0 and below 1.")
        check_least(self, "data.augmentation", (), tuple(vars(self)))

    def sound(
        self, samples: Float[np.ndarray, " samples"], rng: np.random.Generator, sample_rate: int, longest: int
    ) -> Float[np.ndarray, " samples"]:
        """A changed sound of at most `longest` samples."""
        speed, shift, gain, noise = rng.uniform((-self.speed, 0, -self.gain, 0), (self.speed, self.shift, self.gain, self.noise))
        speed = max(1 + speed, len(samples) / longest)
        if speed != 1:
            places = np.arange(0, len(samples) - 1, speed)
            samples = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
        silence = min(int(shift * sample_rate), longest - len(samples))
        samples = np.pad(samples, (max(silence, 0), 0))[:longest] * np.float32(10 ** (gain / 20))
        if self.noise:
            samples = samples + rng.normal(size=len(samples)).astype(np.float32) * np.float32(noise * samples.std())
        return samples

    def features(self, features: Float[np.ndarray, "frames mels"], rng: np.random.Generator) -> Float[np.ndarray, "frames mels"]:
        """Features with stretches hidden."""
        features = features.copy()
        mean = features.mean()
        for axis, count, widest in ((1, self.band_masks, self.band_width), (0, self.time_masks, self.time_width)):
            for _ in range(count):
                width = int(rng.integers(0, min(widest, features.shape[axis] // 2) + 1))
                start = int(rng.integers(0, features.shape[axis] - width + 1))
                features[(slice(None),) * axis + (slice(start, start + width),)] = mean
        return features


def speech_columns(max_frames: int, num_mels: int, target_length: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """`features` and `feature_mask` (0 where a frame is padding), `targets` and `target_segment_ids` (1, and 0 for padding)."""
    whole = np.dtype(np.int32)
    return {
        "features": ((max_frames, num_mels), np.dtype(np.float32)),
        "feature_mask": ((max_frames,), whole),
        "targets": ((target_length,), whole),
        "target_segment_ids": ((target_length,), whole),
    }


@dataclass(frozen=True, eq=False)
class SpeechRows:
    """A row a sound.

    Attributes:
        sounds: their samples, at the rate of `log_mel`, none longer than `max_frames` frames.
        targets: the tokens of each text, its end included.
        silence: whether the model hears silence after a sound up to `max_frames`, as the published ones do.
        augmentation: None for rows as they are; then `seed` has no meaning.
    """

    sounds: Sequence[Float[np.ndarray, " samples"]]
    targets: Sequence[Int[np.ndarray, " tokens"]]
    log_mel: LogMel
    max_frames: int
    target_length: int
    silence: bool
    augmentation: SpeechAugmentation | None
    seed: int

    @property
    def num_rows(self) -> int:
        return len(self.sounds)

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        return speech_columns(self.max_frames, self.log_mel.num_mels, self.target_length)

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        batch = {name: np.zeros((len(rows), *shape), dtype) for name, (shape, dtype) in self.columns.items()}
        for place, (epoch, row) in enumerate(zip(epochs.tolist(), rows.tolist(), strict=True)):
            features = self._features(epoch, row)
            batch["features"][place, : len(features)] = features
            batch["feature_mask"][place, : len(features)] = 1
            batch["targets"][place, : len(self.targets[row])] = self.targets[row]
            batch["target_segment_ids"][place, : len(self.targets[row])] = 1
        return batch

    def _features(self, epoch: int, row: int) -> Float[np.ndarray, "frames mels"]:
        samples, longest = self.sounds[row], self.max_frames * self.log_mel.hop
        if self.augmentation is None:
            return sound_features(samples, self.log_mel, self.max_frames, self.silence)
        rng = np.random.default_rng([self.seed & 0xFFFFFFFF, epoch, row])
        samples = self.augmentation.sound(samples, rng, self.log_mel.sample_rate, longest)
        return self.augmentation.features(sound_features(samples, self.log_mel, self.max_frames, self.silence), rng)


def sound_features(
    samples: Float[np.ndarray, " samples"], log_mel: LogMel, max_frames: int, silence: bool
) -> Float[np.ndarray, "frames mels"]:
    """At most `max_frames` frames; exactly so many where silence follows."""
    if silence:
        samples = np.pad(samples, (0, max(max_frames * log_mel.hop - len(samples), 0)))
    return log_mel(samples)[:max_frames]
