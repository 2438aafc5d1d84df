"""Contrastive losses over a global batch that is spread over a mesh, in memory that grows linearly with it.

Every image meets every text. Devices hold their own images; the texts go round them in a ring, and each visit is worked through
in blocks of texts, so that at no time more similarities exist than (images of one device) x (texts of a block). The backward pass
goes round once more and computes each block again from the normalizers.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from genjax.errors import ConfigError
from genjax.models.tower import limited
from genjax.parallel.rules import current_context

BLOCK = 512  # texts of a block
MAX_SCALE = 100.0  # Radford et al., 2021, section 2.5


def softmax_contrastive_loss(
    images: Float[Array, "batch features"],
    texts: Float[Array, "batch features"],
    log_scale: Float[Array, ""],
    *,
    max_scale: float = MAX_SCALE,
    block: int = BLOCK,
) -> Float[Array, ""]:
    """InfoNCE in both directions, in nats: the mean cross-entropy of each image's text among all texts and of each text's image
    among all images (Radford et al., 2021, figure 3).

    Args:
        images, texts: embeddings of length 1; row i of one belongs to row i of the other. Within a parallel context the rows are
            split over the mesh as a batch is.
        log_scale: logarithm of what cosines are multiplied by; see `limited` for what happens above `max_scale`.
        block: texts that are worked on at a time.

    Raises:
        ConfigError: batches of different shapes, or a batch that does not divide over the devices.
    """
    return _loss(_SOFTMAX, images, texts, limited(log_scale, math.log(max_scale)), jnp.zeros(()), block)


def sigmoid_contrastive_loss(
    images: Float[Array, "batch features"],
    texts: Float[Array, "batch features"],
    log_scale: Float[Array, ""],
    bias: Float[Array, ""],
    *,
    max_scale: float = math.inf,
    block: int = BLOCK,
) -> Float[Array, ""]:
    """The sum over all pairs of -log sigmoid(z * (scale * cosine + bias)), z = 1 for pairs that belong together and -1 for
    others, divided by the batch (Zhai et al., 2023, equation 1), in nats.

    Arguments and errors as in `softmax_contrastive_loss`; published SigLIP models have scales above 100.
    """
    limit = math.log(max_scale) if math.isfinite(max_scale) else math.inf
    return _loss(_SIGMOID, images, texts, limited(log_scale, limit), bias, block)


class _Form(NamedTuple):
    """What tells the two losses apart, in terms of the logits of a block [images texts].

    Both are the mean over i of own(rows_i, columns_i) - logits_ii; rows and columns gather the logits of an image and of a text.

    Attributes:
        empty: what rows and columns are before anything is gathered.
        gather: (rows or columns so far, logits, axis to sum over) -> the same with the block in it.
        own: (rows, columns) -> the term of each pair.
        slope: (logits, rows, columns) -> the derivative of the sum of own by each logit.
    """

    empty: float
    gather: Callable[[Array, Array, int], Array]
    own: Callable[[Array, Array], Array]
    slope: Callable[[Array, Array, Array], Array]


_SOFTMAX = _Form(
    -math.inf,
    lambda so_far, logits, axis: jnp.logaddexp(so_far, jax.nn.logsumexp(logits, axis=axis)),
    lambda rows, columns: 0.5 * (rows + columns),
    lambda logits, rows, columns: 0.5 * (jnp.exp(logits - rows[:, None]) + jnp.exp(logits - columns[None, :])),
)
# -log sigmoid(-x) is softplus(x), and -log sigmoid(x) is softplus(x) - x: only pairs that belong together have the second term.
_SIGMOID = _Form(
    0.0,
    lambda so_far, logits, axis: so_far + jax.nn.softplus(logits).sum(axis) if axis == 1 else so_far,
    lambda rows, columns: rows,
    lambda logits, rows, columns: jax.nn.sigmoid(logits),
)


@partial(jax.custom_vjp, nondiff_argnums=(0, 5))
def _loss(form: _Form, images: Array, texts: Array, log_scale: Array, bias: Array, block: int) -> Array:
    return _forward(form, images, texts, log_scale, bias, block)[0]


def _forward(form, images, texts, log_scale, bias, block):
    if images.shape != texts.shape or images.ndim != 2:
        raise ConfigError(f"images {images.shape} and texts {texts.shape} must be embeddings of the same number of pairs.")
    if block < 1:
        raise ConfigError(f"block is {block}; it must be 1 or more.")
    inputs = (images, texts, log_scale, bias)
    loss, rows, columns = _spread(partial(_forward_share, form, block), inputs, outputs=("", "b", "b"))
    return loss, (*inputs, rows, columns)


def _backward(form, block, residuals, gradient):
    outputs = ("b", "b", "", "")
    cotangents = _spread(partial(_backward_share, form, block), (*residuals, gradient), outputs)
    return tuple(c.astype(r.dtype) for c, r in zip(cotangents, residuals[:4], strict=True))


_loss.defvjp(_forward, _backward)


def _forward_share(form: _Form, block: int, ring: "_Ring", images, texts, log_scale, bias):
    """The loss, and rows and columns of this device's pairs."""
    scale = jnp.exp(log_scale)
    empty = jnp.full(images.shape[:1], form.empty, jnp.float32)

    def meet(rows, visitors):
        texts, columns = visitors
        logits = scale * _product("id,td->it", images, texts) + bias
        return form.gather(rows, logits, 1), (texts, form.gather(columns, logits, 0))

    rows, (_, columns) = ring.round(partial(_in_blocks, meet, block), empty, (texts, empty))
    own = scale * _own(images, texts) + bias
    return ring.sum(jnp.sum(form.own(rows, columns) - own)) / (ring.size * len(rows)), rows, columns


def _backward_share(form: _Form, block: int, ring: "_Ring", images, texts, log_scale, bias, rows, columns, gradient):
    """Cotangents of images and texts of this device, of log_scale and of bias."""
    scale, unit = jnp.exp(log_scale), gradient / (ring.size * len(rows))
    zero = jnp.zeros((), jnp.float32)

    def meet(sums, visitors):
        d_images, d_log_scale, d_bias = sums
        texts, columns, d_texts = visitors
        cosines = scale * _product("id,td->it", images, texts)
        slope = unit * form.slope(cosines + bias, rows, columns)
        d_images += scale * _product("it,td->id", slope, texts)
        d_texts += scale * _product("it,id->td", slope, images)
        return (d_images, d_log_scale + jnp.sum(slope * cosines), d_bias + jnp.sum(slope)), (texts, columns, d_texts)

    sums = (jnp.zeros(images.shape, jnp.float32), zero, zero)
    visitors = (texts, columns, jnp.zeros(texts.shape, jnp.float32))
    (d_images, d_log_scale, d_bias), (_, _, d_texts) = ring.round(partial(_in_blocks, meet, block), sums, visitors)
    d_log_scale -= unit * scale * jnp.sum(_own(images, texts))
    d_bias -= unit * len(rows)
    d_images -= unit * scale * texts.astype(jnp.float32)
    d_texts -= unit * scale * images.astype(jnp.float32)
    return d_images, d_texts, ring.sum(d_log_scale), ring.sum(d_bias)


class _Ring(NamedTuple):
    """The devices that a batch is split over: `axes` of a mesh, `size` in all. Without axes, this device alone."""

    axes: tuple[str, ...] = ()
    size: int = 1

    def sum(self, x: Array) -> Array:
        return lax.psum(x, self.axes) if self.axes else x

    def round(self, meet: Callable[[Any, Any], tuple[Any, Any]], state: Any, visitors: Any) -> tuple[Any, Any]:
        """`state, visitors = meet(state, visitors)` on every device with the visitors of every device, which end at home."""
        if not self.axes:
            return meet(state, visitors)
        neighbours = [(i, (i + 1) % self.size) for i in range(self.size)]

        def step(carry, _):
            state, visitors = meet(*carry)
            return (state, jax.tree.map(lambda x: lax.ppermute(x, self.axes, neighbours), visitors)), None

        return lax.scan(step, (state, visitors), length=self.size)[0]


def _spread(share: Callable, inputs: tuple[Array, ...], outputs: tuple[str, ...]) -> Any:
    """`share(ring, *inputs)` with the batch split as the parallel context splits it; numbers are everywhere."""
    opened = current_context()
    axes: tuple[str, ...] = ()
    if opened is not None:
        mesh, rules = opened
        named = rules["activation_batch"] or ()
        axes = tuple(axis for axis in ((named,) if isinstance(named, str) else named) if mesh.shape[axis] > 1)
    if not axes:
        return share(_Ring(), *inputs)
    size = math.prod(mesh.shape[axis] for axis in axes)
    if inputs[0].shape[0] % size:
        raise ConfigError(f"a batch of {inputs[0].shape[0]} pairs does not divide over {size} devices; use a multiple of {size}.")
    batch, number = PartitionSpec(axes), PartitionSpec()
    return jax.shard_map(
        partial(share, _Ring(axes, size)),
        mesh=mesh,
        in_specs=tuple(batch if x.ndim else number for x in inputs),
        out_specs=tuple(batch if kind else number for kind in outputs),
        check_vma=False,
    )(*inputs)


def _in_blocks(meet: Callable[[Any, Any], tuple[Any, Any]], block: int, state: Any, visitors: Any) -> tuple[Any, Any]:
    """`meet` with `block` visitors at a time, and with the rest."""
    count = len(jax.tree.leaves(visitors)[0])
    whole = count // block * block
    if whole in (0, block) and whole in (0, count):
        return meet(state, visitors)
    blocks = jax.tree.map(lambda x: x[:whole].reshape(whole // block, block, *x.shape[1:]), visitors)
    state, met = lax.scan(meet, state, blocks)
    met = jax.tree.map(lambda x: x.reshape(whole, *x.shape[2:]), met)
    if whole == count:
        return state, met
    state, rest = meet(state, jax.tree.map(lambda x: x[whole:], visitors))
    return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), met, rest)


def _product(subscripts: str, x: Array, y: Array) -> Array:
    # The logits are differences of cosines times up to 100: bfloat16 products, a TPU's default, would be too coarse.
    return jnp.einsum(subscripts, x, y, precision="highest", preferred_element_type=jnp.float32)


def _own(images: Array, texts: Array) -> Array:
    return jnp.sum(images.astype(jnp.float32) * texts.astype(jnp.float32), axis=1)
