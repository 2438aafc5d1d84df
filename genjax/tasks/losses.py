"""Losses that several objectives share."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genjax.parallel.rules import current_context

# Logits of one device above this size are computed in chunks of positions.
_LOGITS_BYTES = 1 << 30


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def token_cross_entropy(
    logits: Float[Array, "*tokens vocabulary"],
    targets: Int[Array, "*tokens"],
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
) -> Float[Array, "*tokens"]:
    """Negative log-likelihood of each target in nats, in float32, plus `z_loss` times the squared logarithm of the normalizer,
    which keeps it near 0 (Chowdhery et al., 2022, section 5).

    With `label_smoothing` e, the cross-entropy to a distribution that gives the target 1 - e and spreads e evenly over the whole
    vocabulary, the target included (Szegedy et al., 2016, section 7; Vaswani et al., 2017, section 5.4).

    The backward pass keeps the logits and one normalizer a token: softmax minus one-hot is formed in one fused pass, where
    differentiating log-softmax would keep the probabilities as well.
    """
    return _cross_entropy_forward(logits, targets, z_loss, label_smoothing)[0]


def _cross_entropy_forward(logits, targets, z_loss, label_smoothing):
    logits32 = logits.astype(jnp.float32)
    normalizer = jax.nn.logsumexp(logits32, axis=-1)
    chosen = jnp.take_along_axis(logits32, targets[..., None], axis=-1)[..., 0]
    if label_smoothing:
        chosen = (1 - label_smoothing) * chosen + label_smoothing * jnp.mean(logits32, axis=-1)
    penalty = z_loss * normalizer**2 if z_loss else 0.0
    return normalizer - chosen + penalty, (logits, normalizer, targets)


def _cross_entropy_backward(z_loss, label_smoothing, residuals, gradient):
    logits, normalizer, targets = residuals
    probabilities = jnp.exp(logits.astype(jnp.float32) - normalizer[..., None])
    if z_loss:
        probabilities *= 1 + 2 * z_loss * normalizer[..., None]
    wanted = jnp.arange(logits.shape[-1]) == targets[..., None]
    if label_smoothing:
        wanted = (1 - label_smoothing) * wanted + label_smoothing / logits.shape[-1]
    return ((probabilities - wanted) * gradient[..., None]).astype(logits.dtype), None


token_cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def language_model_sums(
    hidden: Float[Array, "batch length features"],
    targets: Int[Array, "batch length"],
    mask: Int[Array, "batch length"],
    to_logits: Callable[[Float[Array, "batch chunk features"]], Float[Array, "batch chunk vocabulary"]],
    chunk: int = 0,
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Sums over the masked tokens of the loss (nats; see `token_cross_entropy`) and of correct argmax predictions.

    With `chunk` > 0 the logits exist for `chunk` positions of each row at a time and are computed again in the backward
    pass, so that memory does not grow with length times vocabulary. `chunk` must divide the length.
    """

    def sums(hidden, targets, mask):
        logits = to_logits(hidden)
        nats = token_cross_entropy(logits, targets, z_loss, label_smoothing)
        correct: Bool[Array, "batch chunk"] = jnp.argmax(jax.lax.stop_gradient(logits), axis=-1) == targets
        weights = mask.astype(jnp.float32)
        return jnp.sum(nats * weights), jnp.sum(correct * weights)

    length = hidden.shape[1]
    if not chunk or chunk >= length:
        return sums(hidden, targets, mask)

    def body(carry, xs):
        return jax.tree.map(jnp.add, carry, jax.checkpoint(sums)(*xs)), None

    cut = lambda x: jnp.moveaxis(x.reshape((x.shape[0], length // chunk, chunk) + x.shape[2:]), 1, 0)  # noqa: E731
    zero = jnp.zeros((), jnp.float32)
    totals, _ = jax.lax.scan(body, (zero, zero), (cut(hidden), cut(targets), cut(mask)))
    return totals


def logits_chunk(batch: int, length: int, vocab_size: int) -> int:
    """The `chunk` for `language_model_sums`: the largest divisor of the length whose logits stay under a limit on one device of
    the parallel context; 0 where all of them do."""
    context = current_context()
    axes = dict(context[0].shape) if context else {}
    if axes.get("sequence", 1) > 1:  # positions are split over devices already; cutting them would move them about
        return 0
    devices = math.prod(axes.get(axis, 1) for axis in ("data", "fsdp", "tensor"))
    position_bytes = 4 * batch * vocab_size / max(devices, 1)
    if position_bytes * length <= _LOGITS_BYTES:
        return 0
    return max((d for d in range(1, length + 1) if length % d == 0 and d * position_bytes <= _LOGITS_BYTES), default=1)
