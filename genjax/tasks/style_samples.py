"""Samples of a generator that reads styles: of latents or given, truncated, mixed, shifted along directions. Traced."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.adversarial.directions import Directions, principal, shifted
from genjax.diffusion.predictions import over
from genjax.tasks.contract import Batch, Variables
from genjax.tasks.gan_players import StylePlayers
from genjax.tasks.sample_rows import drawn

DRAWN = 10_000  # latents that W is judged by: its mean, its deviation, its directions
DIRECTIONS = "directions"  # the component that holds principal components of W
SHIFT = "shift"  # the entry of a batch whose samples are shifted along them


def directions(players: StylePlayers, variables: Variables, batches: Sequence[Batch]) -> Mapping[str, Any]:
    """The component `DIRECTIONS`, where some batch needs it."""
    if not any(SHIFT in batch for batch in batches):
        return {}
    find = jax.jit(lambda v: principal(players.drawn_styles(v, DRAWN)))
    return {DIRECTIONS: find(variables)}


def images(
    players: StylePlayers, variables: Variables, batch: Batch, key: jax.Array
) -> Float[Array, "batch height width channels"]:
    """Images of a prepared batch, in the generator's range."""
    styles = batch["styles"] if "styles" in batch else _of_latents(players, variables, batch, key)
    if SHIFT in batch:
        found: Directions = variables[DIRECTIONS]
        styles = shifted(styles, found, batch["direction"], batch[SHIFT], batch["shifted"])
    return players.synthesize(variables, styles, key=None, noise_images=batch.get("noise"))


def _of_latents(players: StylePlayers, variables: Variables, batch: Batch, key: jax.Array) -> Float[Array, "batch layers width"]:
    told = {"truncation": batch["truncation"], "cutoff": batch["cutoff"]}

    def of(rows):
        z = drawn(key, rows, players.latent)
        return players.styles(variables, z, batch.get("classes"), train=False, **told)[0]

    styles = of(batch["latent"])
    if "share" in batch:
        return styles + over(batch["share"], styles) * (of(batch["other"]) - styles)
    if "mixed" in batch:
        return jnp.where(batch["mixed"][..., None], of(batch["other"]), styles)
    return styles
