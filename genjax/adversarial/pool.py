"""A pool of images that were generated earlier, shown to a discriminator in the place of new ones (Shrivastava et al., 2017,
section 2.3, as CycleGAN has it: Zhu et al., 2017, section 4)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key


@struct.dataclass
class ImagePool:
    """The state of a pool: a part of a run's variables, so that a resumed run shows what the first would have shown.

    Attributes:
        images: of which the first `count` are filled.
    """

    images: Float[Array, "size height width channels"]
    count: Int[Array, ""]

    def as_collection(self) -> dict[str, Any]:
        return {"images": self.images, "count": self.count}


def empty(size: int, shape: tuple[int, ...], dtype: Any = jnp.float32) -> ImagePool:
    """A pool for `size` images of a shape; of size 0, one that hands back what it is given."""
    return ImagePool(jnp.zeros((size, *shape), dtype), jnp.zeros((), jnp.int32))


def exchange(
    pool: ImagePool, images: Float[Array, "batch height width channels"], key: Key[Array, ""]
) -> tuple[Float[Array, "batch height width channels"], ImagePool]:
    """What the discriminator sees in the place of new images, and the pool after it.

    One image after the other: while the pool is not full, an image enters it and is shown; then, with a chance of one half, it
    is shown and forgotten, or takes the place of one from the pool, which is shown.
    """
    size = len(pool.images)
    if not size:
        return images, pool

    def one(pool: ImagePool, given):
        image, key = given
        swap_key, place_key = jax.random.split(key)
        filling = pool.count < size
        place = jnp.where(filling, pool.count, jax.random.randint(place_key, (), 0, size))
        enters = filling | jax.random.bernoulli(swap_key)
        held = pool.images[place]
        shown = jnp.where(filling | ~enters, image, held)
        kept = pool.images.at[place].set(jnp.where(enters, image.astype(held.dtype), held))
        return ImagePool(kept, jnp.minimum(pool.count + 1, size)), shown

    pool, shown = jax.lax.scan(one, pool, (images, jax.random.split(key, len(images))))
    return shown, pool
