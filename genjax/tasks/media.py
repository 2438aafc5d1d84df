"""What a generative model makes: images, latents of images, or sounds as frames of features. From a batch's column to the numbers
that the model sees, of order 1, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from genjax.data.latents import LatentsInfo
from genjax.data.sounds import SoundsInfo
from genjax.errors import ConfigError
from genjax.tasks.contract import Artifact


class Medium(Protocol):
    """One kind of sample.

    Attributes:
        column: of a batch.
        shape: of a sample, channels last.
        dtype: of the column.
        units: what a run's rate counts.
        kind: of artifacts.
    """

    column: str
    units: str
    kind: str
    dtype: Any

    @property
    def shape(self) -> tuple[int, ...]: ...

    def to_model(self, values: Array) -> Float[Array, "batch *places channels"]: ...

    def from_model(self, x: Float[Array, "*batch places channels"]) -> Array: ...

    def artifact(self, value: np.ndarray, film: np.ndarray | None, metadata: Mapping[str, Any]) -> Artifact: ...


@dataclass(frozen=True)
class Grid:
    """Rows and columns of pixels, or of what stands for them."""

    height: int
    width: int
    channels: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.height, self.width, self.channels


class Images(Grid):
    """uint8 [height, width, channels]; [-1, 1] to the model."""

    column = "image"
    units = "images"
    kind = "image"
    dtype = jnp.uint8

    def to_model(self, values):
        return values.astype(jnp.float32) * (1 / 127.5) - 1

    def from_model(self, x):
        return jnp.clip(jnp.round((x + 1) * 127.5), 0, 255).astype(jnp.uint8)

    def artifact(self, value, film, metadata):
        """The image; with a film, its frames from left to right and the image at the end."""
        frames = [*([] if film is None else film), value]
        picture = np.concatenate(frames, axis=1)
        return Artifact(self.kind, np.broadcast_to(picture, (*picture.shape[:2], 3)), metadata)

    def reduced(
        self, x: Float[Array, "batch height width channels"], factor: int
    ) -> Float[Array, "batch low_height low_width channels"]:
        """Each pixel the mean of `factor` x `factor`."""
        batch, height, width, channels = x.shape
        return x.reshape(batch, height // factor, factor, width // factor, factor, channels).mean((2, 4))

    def enlarged(self, low: Float[Array, "batch low_height low_width channels"]) -> Float[Array, "batch height width channels"]:
        """To the model's size, by cubic interpolation."""
        return jax.image.resize(low, (len(low), *self.shape), "cubic")

    def check_reduced(self, factor: int) -> None:
        """Raises ConfigError: images that cannot be made so many times smaller."""
        if self.height % factor or self.width % factor:
            raise ConfigError(f"config.task.low_resolution {factor} does not divide images of {self.height}x{self.width} pixels.")


@dataclass(frozen=True)
class FramedSounds:
    """Frames of a spectrogram in [-1, 1], or samples: as they are to the model; sounds to people."""

    info: SoundsInfo

    column = "features"
    units = "sounds"
    kind = "audio"
    dtype = jnp.float32

    @property
    def shape(self) -> tuple[int, ...]:
        s = self.info.spectrogram
        return (s.frames, s.num_mels) if self.info.features == "mel" else (s.samples, 1)

    def to_model(self, values):
        return values

    def from_model(self, x):
        return jnp.clip(x, -1, 1)

    def artifact(self, value, film, metadata):
        """The sound at the end: the way to it is not to be heard."""
        s = self.info.spectrogram
        samples = s.sound(value) if self.info.features == "mel" else value[:, 0]
        return Artifact(self.kind, samples, {**metadata, "sample_rate": s.sample_rate})


class Latents(Grid):
    """What an autoencoder makes of images: as they are, to the model."""

    column = "latent"
    units = "latents"
    kind = "image"
    dtype = jnp.float32

    def to_model(self, values):
        return values

    def from_model(self, x):
        return x

    def artifact(self, value, film, metadata):
        """A picture of the first three channels, each over its own range: without the autoencoder, no more is to be seen."""
        seen = value[..., : min(3, self.channels)]
        low, high = seen.min((0, 1)), seen.max((0, 1))
        picture = (255 * (seen - low) / np.maximum(high - low, 1e-6)).astype(np.uint8)
        return Artifact(
            self.kind, np.broadcast_to(picture if self.channels >= 3 else picture[..., :1], (*value.shape[:2], 3)), metadata
        )


def medium_of(info: Any, task: str = "diffusion") -> Medium:
    """What the data is of. Raises ConfigError: data that generative models are not made for, or of a size that is not known."""
    if all(hasattr(info, name) for name in ("attributes", "height", "width", "channels")):
        if not info.height:
            raise ConfigError("config.data.image_size is 0; set it, where the task is built without its data.")
        return Images(info.height, info.width, info.channels)
    if isinstance(info, SoundsInfo):
        return FramedSounds(info)
    if isinstance(info, LatentsInfo):
        if not info.size:
            raise ConfigError("config.data.size is not set; set it, where the task is built without its data.")
        return Latents(*info.size)
    raise ConfigError(
        f"config.task.name '{task}' needs images or sounds; set config.data.name to 'images', 'shapes' or 'sounds'."
    )
