"""What a user may ask of the next token: functions on logits with a knob for each row.

Every knob is a traced array over the rows, so that changing one never compiles again. Rows that do not use a knob pass
unchanged, and the cost of the dear ones is paid only in batches in which some row does. A conditional has a price of its own
on an accelerator, so the common wishes meet only one.

Order, as in transformers: repetition penalty, no end before the minimal length (both also in greedy and beam search), then for
sampling temperature, top-k, top-p, min-p.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from genjax.decoding import select

NEVER = -1  # an eos id that no token has, to fill up a row


@struct.dataclass
class Controls:
    """The knobs of each row.

    Attributes:
        temperature: 0 is greedy, 1 leaves the model's distribution.
        top_k: only the k most likely tokens (and those equal to the last of them); 0 is off.
        top_p: only the most likely tokens that together have this probability; 1 is off.
        min_p: only tokens at least this times as likely as the likeliest; 0 is off.
        repetition_penalty: logits of tokens seen in prompt and continuation are divided by it where positive, multiplied where
            negative (Keskar et al. 2019, https://arxiv.org/abs/1909.05858, section 4.1); 1 is off.
        min_new_tokens: no eos before so many tokens.
        max_new_tokens: a row ends after so many tokens; 0 for a row that only fills up the batch.
        eos: token ids that end a row (the token itself is part of the row), -1 for none.
        log_probs: whether log-probabilities of the chosen tokens are wanted.
    """

    temperature: Float[Array, "rows"]
    top_k: Int[Array, "rows"]
    top_p: Float[Array, "rows"]
    min_p: Float[Array, "rows"]
    repetition_penalty: Float[Array, "rows"]
    min_new_tokens: Int[Array, "rows"]
    max_new_tokens: Int[Array, "rows"]
    eos: Int[Array, "rows ends"]
    log_probs: Bool[Array, "rows"]

    @property
    def rows(self) -> int:
        return self.temperature.shape[0]


def make_controls(
    rows: int,
    *,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    min_p=0.0,
    repetition_penalty=1.0,
    min_new_tokens=0,
    max_new_tokens,
    eos=(),
    log_probs=False,
) -> Controls:
    """Controls for `rows` rows as NumPy arrays; each value is one for all rows or a sequence with one for each.

    `eos` is a list of ids for all rows, or [rows, ends].
    """
    fill = lambda value, dtype: np.broadcast_to(np.asarray(value, dtype), (rows,))  # noqa: E731
    ends = np.asarray(eos, np.int32)
    ends = ends if ends.size else np.full((1,), NEVER, np.int32)
    return Controls(
        temperature=fill(temperature, np.float32),
        top_k=fill(top_k, np.int32),
        top_p=fill(top_p, np.float32),
        min_p=fill(min_p, np.float32),
        repetition_penalty=fill(repetition_penalty, np.float32),
        min_new_tokens=fill(min_new_tokens, np.int32),
        max_new_tokens=fill(max_new_tokens, np.int32),
        eos=np.broadcast_to(ends, (rows, ends.shape[-1])),
        log_probs=fill(log_probs, np.bool_),
    )


def penalize_repetition(
    logits: Float[Array, "rows vocabulary"],
    penalty: Float[Array, "rows"],
    tokens: Int[Array, "rows length"],
    valid: Bool[Array, "rows length"],
) -> Float[Array, "rows vocabulary"]:
    """Makes the tokens that are `valid` in `tokens` less likely, each once however often it occurs."""
    rows, size = logits.shape
    places = jnp.where(valid, tokens, size)  # out of bounds: dropped
    seen = jnp.zeros((rows, size), jnp.bool_).at[jnp.arange(rows)[:, None], places].set(True, mode="drop")
    penalty = penalty[:, None]
    return jnp.where(seen, jnp.where(logits < 0, logits * penalty, logits / penalty), logits)


def forbid(
    logits: Float[Array, "rows vocabulary"], tokens: Int[Array, "rows forbidden"], active: Bool[Array, "rows"]
) -> Float[Array, "rows vocabulary"]:
    """-inf for `tokens` (negative ids: none) in the active rows."""
    rows, size = logits.shape
    places = jnp.where(active[:, None] & (tokens >= 0), tokens, size)
    return logits.at[jnp.arange(rows)[:, None], places].set(-jnp.inf, mode="drop")


def temper(logits: Float[Array, "rows vocabulary"], temperature: Float[Array, "rows"]) -> Float[Array, "rows vocabulary"]:
    """logits / temperature; greedy rows (0) unchanged."""
    return logits / jnp.where(temperature > 0, temperature, 1)[:, None]


def keep_top_k(logits: Float[Array, "rows vocabulary"], top_k: Int[Array, "rows"]) -> Float[Array, "rows vocabulary"]:
    """-inf for all but the k largest of each row (those equal to the k-th stay); 0, or more than there are, keeps all."""
    threshold = select.kth_largest(logits, jnp.clip(top_k, 1, logits.shape[-1]))
    return jnp.where((top_k > 0)[:, None] & (logits < threshold[:, None]), -jnp.inf, logits)


def keep_top_p(logits: Float[Array, "rows vocabulary"], top_p: Float[Array, "rows"]) -> Float[Array, "rows vocabulary"]:
    """-inf for the least likely tokens that together have at most 1 - top_p; the likeliest stays (Holtzman et al. 2020,
    https://arxiv.org/abs/1904.09751). Tokens equal to the last kept one stay, where transformers keeps some of them."""
    threshold = select.mass_threshold(logits, jax.nn.softmax(logits, axis=-1), 1 - top_p)
    return jnp.where((top_p < 1)[:, None] & (logits < threshold[:, None]), -jnp.inf, logits)


def keep_min_p(logits: Float[Array, "rows vocabulary"], min_p: Float[Array, "rows"]) -> Float[Array, "rows vocabulary"]:
    """-inf for tokens less likely than min_p times the likeliest (Nguyen et al. 2024, https://arxiv.org/abs/2407.01082)."""
    largest = logits.max(axis=-1, keepdims=True)
    return jnp.where(logits - largest < jnp.log(min_p)[:, None], -jnp.inf, logits)


def constrain_scores(
    scores: Float[Array, "rows vocabulary"],
    controls: Controls,
    tokens: Int[Array, "rows length"],
    valid: Bool[Array, "rows length"],
    num_new: Int[Array, "rows"] | Int[Array, ""],
) -> Float[Array, "rows vocabulary"]:
    """Repetition penalty, then no eos before the minimal length: what also binds greedy and beam search.

    Args:
        scores: logits, or log-probabilities (transformers penalizes those in beam search).
        tokens: prompt and continuation so far, where `valid`.
        num_new: length of the continuation so far.
    """
    scores = lax.cond(
        jnp.any(controls.repetition_penalty != 1),
        lambda s: penalize_repetition(s, controls.repetition_penalty, tokens, valid),
        lambda s: s,
        scores,
    )
    return forbid(scores, controls.eos, num_new < controls.min_new_tokens)


def warp(logits: Float[Array, "rows vocabulary"], controls: Controls) -> Float[Array, "rows vocabulary"]:
    """Temperature, top-k, top-p and min-p: the distribution that sampling rows draw from."""
    sampling = controls.temperature > 0
    logits = temper(logits, controls.temperature)
    for keep, values, used in (
        (keep_top_k, controls.top_k, controls.top_k > 0),
        (keep_top_p, controls.top_p, controls.top_p < 1),
    ):
        logits = lax.cond(jnp.any(sampling & used), keep, lambda logits, _: logits, logits, values)
    return keep_min_p(logits, controls.min_p)


def choose(
    logits: Float[Array, "rows vocabulary"],
    controls: Controls,
    keys: Key[Array, "rows"],
    tokens: Int[Array, "rows length"],
    valid: Bool[Array, "rows length"],
    num_new: Int[Array, "rows"],
) -> tuple[Int[Array, "rows"], Float[Array, "rows"]]:
    """The next token of each row: the likeliest where the temperature is 0, else drawn from `warp`'s distribution.

    Args:
        logits: of the model.
        keys: a random key for each row.
        tokens, valid, num_new: as in `constrain_scores`.

    Returns:
        `(tokens, log_probs)`; the latter in nats under the model's own distribution, 0 in rows that do not want them.
    """
    sampling = controls.temperature > 0

    def likeliest():
        return select.first_argmax(logits), jnp.zeros(logits.shape[:1], jnp.float32)

    def pick(scores, distribution):
        chosen = jnp.where(sampling, select.draw(distribution, keys), select.first_argmax(scores))
        log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits, axis=-1), chosen[:, None], axis=-1)[:, 0]
        return chosen, jnp.where(controls.log_probs, log_probs, 0)

    def simple():
        return pick(logits, keep_min_p(temper(logits, controls.temperature), controls.min_p))

    def everything():
        scores = constrain_scores(logits, controls, tokens, valid, num_new)
        return pick(scores, warp(scores, controls))

    filters = sampling & ((controls.top_k > 0) | (controls.top_p < 1))
    dear = filters | (controls.repetition_penalty != 1) | (num_new < controls.min_new_tokens)
    branch = jnp.where(jnp.any(dear), 2, jnp.any(sampling | controls.log_probs).astype(jnp.int32))
    return lax.switch(branch, (likeliest, simple, everything))
