"""Sounds as frames of mel bands that can be made into sounds again: by the pseudo-inverse of the bands, and phases that fit."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from genjax.data.log_mel import FLOOR, mel_filters

ITERATIONS = 60  # of Griffin-Lim
MOMENTUM = 0.99  # of its fast form


@dataclass(frozen=True)
class Spectrogram:
    """Log-magnitudes of mel bands, scaled so that a sound's loudest band is 1 and what lies `range_db` below it is -1.

    Attributes:
        sample_rate: samples of a second; the bands reach up to half of it.
        num_mels: bands.
        frames: of every sound, 10 ms each, a quarter of the window; silence follows shorter sounds.
        range_db: decibels that are told apart.
    """

    sample_rate: int = 8000
    num_mels: int = 64
    frames: int = 64
    range_db: float = 60.0

    @property
    def hop(self) -> int:
        return self.sample_rate // 100

    @property
    def window(self) -> int:
        return 4 * self.hop

    @property
    def samples(self) -> int:
        """Of a sound that fills all frames."""
        return self.frames * self.hop

    def __call__(self, samples: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "frames mels"]:
        """Frames of a sound that is at most `samples` long."""
        padded = np.pad(np.asarray(samples, np.float64), (0, self.samples - len(samples)))
        power = np.abs(self._spectrum(padded)) ** 2
        decibels = 10 * np.log10(np.maximum(power @ self._filters(), FLOOR))
        return np.clip((decibels - decibels.max()) / (self.range_db / 2) + 1, -1, 1).astype(np.float32)

    def sound(self, features: Float[np.ndarray, "frames mels"]) -> Float[np.ndarray, " samples"]:
        """A sound of those frames, its peak at 0.9: the bands' least-squares spectrum, and phases by the fast Griffin-Lim
        algorithm (Perraudin et al., 2013), from the same start each time."""
        decibels = (np.clip(np.asarray(features, np.float64), -1, 1) - 1) * (self.range_db / 2)
        silent = decibels <= 0.99 * -self.range_db
        bands = np.where(silent, 0.0, 10 ** (decibels / 10))
        magnitude = np.sqrt(np.maximum(bands @ np.linalg.pinv(self._filters()), 0))
        phases = np.exp(2j * np.pi * np.random.default_rng(0).random(magnitude.shape))
        last = np.zeros_like(phases)
        for _ in range(ITERATIONS):
            fitting = self._spectrum(self._overlapped(magnitude * phases))
            phases = fitting + MOMENTUM * (fitting - last)
            phases /= np.maximum(np.abs(phases), 1e-12)
            last = fitting
        found = self._overlapped(magnitude * phases)
        return (0.9 * found / max(np.abs(found).max(), 1e-9)).astype(np.float32)

    def _spectrum(self, samples: np.ndarray) -> np.ndarray:
        """Complex, [frames bins]; a frame's window stands around the middle of its stretch."""
        padded = np.pad(samples, (self.window - self.hop) // 2)
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.window)[:: self.hop]
        return np.fft.rfft(frames * self._hann())

    def _overlapped(self, spectrum: np.ndarray) -> np.ndarray:
        """The samples whose spectrum is nearest (Griffin and Lim, 1984, equation 6)."""
        hann = self._hann()
        pieces = np.fft.irfft(spectrum, self.window) * hann
        total = np.zeros((2, self.samples + self.window - self.hop))
        for number, piece in enumerate(pieces):
            place = slice(number * self.hop, number * self.hop + self.window)
            total[0, place] += piece
            total[1, place] += hann**2
        inside = slice((self.window - self.hop) // 2, (self.window - self.hop) // 2 + self.samples)
        return (total[0] / np.maximum(total[1], 1e-9))[inside]

    def _hann(self) -> np.ndarray:
        return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)

    def _filters(self) -> np.ndarray:
        return mel_filters(self.sample_rate, self.window, self.num_mels)
