"""When a GAN grows (Karras et al., 2018: "Progressive growing of GANs"): at which image a resolution begins, and how far it has
faded in.

Everything follows from one number, the real images that were shown; and, as all batches are as large, from the step's number.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genjax.errors import ConfigError

Count = Int[Array, ""] | int


@dataclass(frozen=True)
class GrowthConfig:
    """The schedule. The defaults are the paper's (appendix A.1): 600 thousand real images each.

    Two things that the paper's runs do beside it are left out: a batch has as many images at all resolutions, not fewer where
    they are large; and the optimizers go on from stage to stage, where the paper's code forgets their moments.

    Attributes:
        first_size: resolution of the first stage.
        fade_images: while which a new resolution fades in.
        stay_images: while which it then stays as it is, before the next; the first, which need not fade in, does only this.
    """

    first_size: int = 4
    fade_images: int = 600_000
    stay_images: int = 600_000

    def __post_init__(self):
        if self.first_size < 4 or self.first_size & (self.first_size - 1):
            raise ConfigError(f"growth.first_size is {self.first_size}; it must be a power of 2, and 4 or more.")
        if self.fade_images < 0 or self.stay_images < 0:
            raise ConfigError(
                f"growth.fade_images and growth.stay_images must be 0 or more, but are {self.fade_images} and {self.stay_images}."
            )


@dataclass(frozen=True)
class Growth:
    """The schedule of one run. Stage s is of 4 * 2^s rows and columns, as in models/progressive.py.

    Attributes:
        last: the last stage, which never ends.
        batch_size: real images of a step.
    """

    config: GrowthConfig
    last: int
    batch_size: int

    def __post_init__(self):
        c = self.config
        if self.first > self.last:
            raise ConfigError(
                f"growth.first_size {c.first_size} is larger than the images, {4 * 2**self.last}x{4 * 2**self.last}."
            )
        if self.first < self.last and c.stay_images < self.batch_size:
            raise ConfigError(
                f"growth.stay_images is {c.stay_images}, less than a batch of {self.batch_size}: the first stage has no step."
            )

    @property
    def first(self) -> int:
        return self.config.first_size.bit_length() - 3

    @property
    def stages(self) -> range:
        return range(self.first, self.last + 1)

    def begin(self, stage: int) -> int:
        """How many images are shown before it."""
        c = self.config
        return 0 if stage == self.first else c.stay_images + (stage - self.first - 1) * (c.fade_images + c.stay_images)

    def steps(self, stage: int) -> tuple[int, int | None]:
        """The steps of a stage, from the first on and before the second (None: to the end). A step belongs to the stage that its
        last image belongs to."""
        return self.begin(stage) // self.batch_size, None if stage == self.last else self.begin(stage + 1) // self.batch_size

    def alpha(self, stage: int, images: Count) -> Float[Array, ""]:
        """How much the resolution of a stage counts once so many images are shown, from 0 to 1.

        A step's images count among those that are shown: its alpha is that of its end. So no step has an alpha of 0, with which
        nothing new is learned.
        """
        if stage == self.first or not self.config.fade_images:
            return jnp.ones((), jnp.float32)
        return jnp.clip((jnp.asarray(images) - self.begin(stage)) / self.config.fade_images, 0, 1).astype(jnp.float32)

    def stage(self, images: Count) -> Int[Array, ""]:
        """The stage of the step that has shown the last of so many images."""
        begins = jnp.array([self.begin(stage) for stage in self.stages[1:]], jnp.int32)
        return self.first + (jnp.asarray(images) > begins).sum()

    def whole_steps(self, images: Count) -> Int[Array, ""]:
        """How many images are shown at the end of the step whose microbatches had shown so many before."""
        return (jnp.asarray(images) // self.batch_size + 1) * self.batch_size
