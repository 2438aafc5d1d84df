"""Log-mel features of sounds, as Whisper hears them (Radford et al., 2022, section 2.2)."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

FLOOR = 1e-10  # of a band's power, before the logarithm
RANGE = 8.0  # powers of ten below the loudest band that are told apart


@dataclass(frozen=True)
class LogMel:
    """Bands of a sound's power spectrum on the mel scale, a frame every 10 ms, each over 25 ms.

    Attributes:
        sample_rate: samples of a second; the bands reach up to half of it.
        num_mels: bands.
    """

    sample_rate: int = 16000
    num_mels: int = 80

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return self.sample_rate // 100

    @property
    def window(self) -> int:
        """Samples of a frame."""
        return self.sample_rate // 40

    def __call__(self, samples: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "frames mels"]:
        """One frame for each `hop` samples: log10 of the bands' power, at most `RANGE` below the loudest, in about [-1, 2].

        Args:
            samples: in [-1, 1]. What is shorter than a window is followed by silence.
        """
        if len(samples) < self.window:
            samples = np.pad(samples, (0, self.window - len(samples)))
        centred = np.pad(np.asarray(samples, np.float64), self.window // 2, mode="reflect")
        # The frame that stands at the very end is left out, as in the reference.
        frames = np.lib.stride_tricks.sliding_window_view(centred, self.window)[:: self.hop][:-1]
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)
        power = np.abs(np.fft.rfft(frames * hann)) ** 2
        bands = np.log10(np.maximum(power @ mel_filters(self.sample_rate, self.window, self.num_mels), FLOOR))
        return ((np.maximum(bands, bands.max() - RANGE) + 4) / 4).astype(np.float32)


@lru_cache(maxsize=8)
def mel_filters(sample_rate: int, window: int, num_mels: int) -> Float[np.ndarray, "bins mels"]:
    """Triangles of equal area over the bins of a spectrum, equally spaced on Slaney's mel scale (linear up to 1 kHz, then
    logarithmic)."""
    bins = np.linspace(0, sample_rate // 2, window // 2 + 1)
    edges = _hertz(np.linspace(0, _mels(sample_rate / 2), num_mels + 2))
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(rising, falling), 0) * (2 / (edges[2:] - edges[:-2]))


LINEAR, BREAK, STEP = 200 / 3, 15.0, np.log(6.4) / 27  # Hz of a mel below the break, its mel (1 kHz), growth of a mel above it


def _mels(hertz: float) -> float:
    return hertz / LINEAR if hertz < 1000 else BREAK + np.log(hertz / 1000) / STEP


def _hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < BREAK, LINEAR * mels, 1000 * np.exp(STEP * (mels - BREAK)))
