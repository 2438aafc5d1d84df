"""Points of a plane as what a generative model makes: a medium beside those of media.py."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from genjax.data.mixture import MixtureInfo
from genjax.tasks.contract import Artifact

PICTURE = 320  # pixels along both sides of a picture


@dataclass(frozen=True)
class Points:
    """Pairs of numbers: as they are, to the model. To people, all that were made together are one picture."""

    info: MixtureInfo

    column = "point"
    units = "points"
    kind = "image"
    dtype = jnp.float32
    shape = (2,)

    def to_model(self, values):
        return values

    def from_model(self, x):
        return x

    def artifact(self, value, film, metadata):
        """A picture of `value`, points [count, 2], over grey discs of two deviations where the data lies."""
        centers, size = np.array(self.info.centers), PICTURE
        reach = 1.25 * np.abs(centers).max() + 4 * self.info.deviation
        places = np.linspace(-reach, reach, size)
        away = np.square(centers[:, :1] - places).T[None, :, :] + np.square(centers[:, 1:] - places[::-1]).T[:, None, :]
        picture = np.where((away < np.square(2 * self.info.deviation + 3 * reach / size)).any(-1), 205, 255)
        picture = np.repeat(picture[..., None], 3, axis=-1).astype(np.uint8)
        columns, rows = np.round((np.stack([value[:, 0], -value[:, 1]]) + reach) / (2 * reach) * (size - 1)).astype(int)
        seen = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size)
        picture[rows[seen], columns[seen]] = (200, 30, 40)
        return Artifact(self.kind, picture, {**metadata, "outside": int((~seen).sum())})
