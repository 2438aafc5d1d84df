"""DALL-E: one GPT over the tokens of a text and the codes of an image (Ramesh et al., 2021).

A sequence is BOS, the text (padded to `text_length`; each place has a padding token of its own, appendix B.1), and the codes of
the image row by row. Ids: the text's vocabulary, a padding token for each place of the text, BOS, then the codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from genjax.errors import ConfigError
from genjax.layers.attention import Implementation
from genjax.layers.cache import KVCache
from genjax.layers.embedding import Embedding
from genjax.layers.mlp import Activation
from genjax.models.checks import check_sizes
from genjax.models.gpt import GPT, GPTConfig
from genjax.models.gpt import parameter_count as gpt_parameters
from genjax.models.transformer import Remat

Pattern = Literal["full", "row", "column", "conv"]


@dataclass(frozen=True)
class DALLEConfig:
    """The hyper-parameters. The defaults are those of the published one, 12 billion parameters (Ramesh et al., 2021, appendix B).

    Attributes:
        text_vocab: ids of texts.
        text_length: places that a text has.
        codes: ids of codes.
        rows, columns: of an image's codes.
        num_layers, num_heads, embed_dim, mlp_dim, activation, gated: see `GPTConfig`.
        patterns: what codes of each layer see of the codes before them, in turn from the first layer; text is always seen, and
            sees the text before it. "full"; "row": as many as a row has, up to the one above; "column": those above; "conv": a
            square of `kernel` places, as far as it comes before, running over the ends of rows (appendix B.1, figure 11).
        last_pattern: of the last layer.
        kernel: odd.
        dropout, scan_layers, remat, dtype, attention, init_std: see `GPTConfig`.
    """

    text_vocab: int = 16384
    text_length: int = 256
    codes: int = 8192
    rows: int = 32
    columns: int = 32
    num_layers: int = 64
    num_heads: int = 62
    embed_dim: int = 3968
    mlp_dim: int = 0
    activation: Activation = "gelu_tanh"
    gated: bool = False
    patterns: tuple[Pattern, ...] = ("row", "column", "row", "row")
    last_pattern: Pattern = "conv"
    kernel: int = 11
    dropout: float = 0.0
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Implementation = "auto"
    init_std: float = 0.02

    def __post_init__(self):
        check_sizes(self, ("text_vocab", "text_length", "codes", "rows", "columns", "kernel"))
        known = ("full", "row", "column", "conv")
        for name in (*self.patterns, self.last_pattern):
            if name not in known:
                raise ConfigError(f"model.patterns has {name!r}; known: {', '.join(known)}.")
        if not self.patterns:
            raise ConfigError("model.patterns is empty; use ('full',) for attention to everything that comes before.")
        if not self.kernel % 2:
            raise ConfigError(f"model.kernel is {self.kernel}; it must be odd.")
        self.gpt()  # whose own complaints come now

    @property
    def bos(self) -> int:
        return self.text_vocab + self.text_length

    @property
    def first_code(self) -> int:
        """The id of code 0."""
        return self.bos + 1

    @property
    def text_ids(self) -> slice:
        """Ids that may follow where a text is not at its end: those of texts and padding."""
        return slice(self.bos)

    @property
    def code_ids(self) -> slice:
        """Ids that may follow behind a text."""
        return slice(self.first_code, None)

    @property
    def length(self) -> int:
        """Of a sequence, of which the last code is only predicted."""
        return self.text_length + self.rows * self.columns

    def layer_patterns(self) -> tuple[Pattern, ...]:
        """Of each layer."""
        turns = [self.patterns[layer % len(self.patterns)] for layer in range(self.num_layers - 1)]
        return (*turns, self.last_pattern)

    def gpt(self) -> GPTConfig:
        """The transformer, whose positions are given to it."""
        common = {field.name: getattr(self, field.name) for field in fields(GPTConfig) if hasattr(self, field.name)}
        return GPTConfig(vocab_size=self.first_code + self.codes, context_length=self.length, position="none", **common)


class DALLE(nn.Module):
    """Sequences to logits over the next token."""

    config: DALLEConfig

    def setup(self):
        c = self.config
        init, dtype = nn.initializers.normal(c.init_std), jnp.dtype(c.dtype)
        table = lambda count: Embedding(count, c.embed_dim, "position", embedding_init=init, dtype=dtype)  # noqa: E731
        self.gpt = GPT(c.gpt())
        self.text_positions = table(c.text_length + 1)  # that of BOS with them
        self.row_positions, self.column_positions = table(c.rows), table(c.columns)

    def __call__(
        self, tokens: Int[Array, "batch length"], *, cache: KVCache | None = None, deterministic: bool = True
    ) -> Float[Array, "batch length vocab"]:
        """Logits of all tokens; arguments as for `hidden`."""
        return self.logits(self.hidden(tokens, cache=cache, deterministic=deterministic)[0])

    def hidden(
        self, tokens: Int[Array, "batch length"], *, cache: KVCache | None = None, deterministic: bool = True
    ) -> tuple[Float[Array, "batch length features"], KVCache | None]:
        """What `logits` reads, for every token, and the advanced cache (None without one).

        Args:
            tokens: of whole sequences from BOS on, or with a cache those that come next.
            deterministic: False to drop (needs a "dropout" key).
        """
        c, length = self.config, tokens.shape[1]
        if cache is None:
            at = jnp.arange(length, dtype=jnp.int32)[None]
            keys = at
        else:
            at = cache.positions(length)
            keys = jnp.maximum(jnp.arange(cache.slots, dtype=jnp.int32)[None] - cache.start[:, None], 0)
        vectors = self.gpt.embed(tokens) + self._positions(at)
        kinds, which = patterns_in_use(c)
        masks = None
        if kinds != ("full",):
            masks = jnp.stack([may_see(c, kind, at[:, :, None], keys[:, None, :])[:, None] for kind in kinds])
        return self.gpt.hidden(tokens, cache=cache, deterministic=deterministic, vectors=vectors, masks=masks, pattern=which)

    def logits(self, hidden: Float[Array, "batch length features"], ids: slice = slice(None)) -> Float[Array, "batch length ids"]:
        """Float32 logits over ids; a text is followed by `text_ids`, and codes by `code_ids`."""
        return self.gpt.logits(hidden, ids)

    def _positions(self, at: Int[Array, "#batch length"]) -> Float[Array, "#batch length features"]:
        c = self.config
        place = jnp.clip(at - c.text_length - 1, 0, c.rows * c.columns - 1)
        in_image = self.row_positions(place // c.columns) + self.column_positions(place % c.columns)
        return jnp.where((at > c.text_length)[..., None], in_image, self.text_positions(jnp.minimum(at, c.text_length)))


def sequences(
    config: DALLEConfig, texts: Int[Array, "batch text_length"], codes: Int[Array, "batch places"]
) -> Int[Array, "batch length"]:
    """BOS, texts and codes, without the last code: what is read to predict texts and codes.

    Args:
        texts: as `padded` gives them.
        codes: from 0 on, row by row.
    """
    start = jnp.full((len(texts), 1), config.bos, jnp.int32)
    return jnp.concatenate([start, texts, codes[:, :-1] + config.first_code], axis=1)


def padded(
    config: DALLEConfig, texts: Int[Array, "batch text_length"], keep: Bool[Array, "batch text_length"]
) -> Int[Array, "batch text_length"]:
    """Texts with the padding token of its place wherever nothing is kept."""
    return jnp.where(keep, texts, config.text_vocab + jnp.arange(config.text_length, dtype=jnp.int32))


def patterns_in_use(config: DALLEConfig) -> tuple[tuple[Pattern, ...], tuple[int, ...]]:
    """The different patterns of the layers, and which one each layer has."""
    layers = config.layer_patterns()
    kinds = tuple(dict.fromkeys(layers))
    return kinds, tuple(kinds.index(kind) for kind in layers)


def may_see(
    config: DALLEConfig, pattern: Pattern, queries: Int[Array, "*lead queries 1"], keys: Int[Array, "*lead 1 keys"]
) -> Bool[Array, "*lead queries keys"]:
    """Whether a query may see a key that does not come after it, from their places in the sequence (0 is BOS)."""
    first = config.text_length + 1  # place of the first code
    back = queries - keys
    if pattern == "full":
        among = jnp.ones(jnp.broadcast_shapes(queries.shape, keys.shape), bool)
    elif pattern == "row":
        among = back <= config.columns
    elif pattern == "column":
        among = back % config.columns == 0
    else:
        half = config.kernel // 2
        # Places behind by so many rows and columns, as one number; around the ends of rows they run on.
        offsets = [r * config.columns + c for r in range(half + 1) for c in range(-half, half + 1)]
        among = jnp.isin(back, np.array([offset for offset in offsets if offset >= 0]))
    return (keys < first) | (queries < first) | among


def parameter_count(config: DALLEConfig) -> int:
    """How many parameters the model has."""
    tables = config.text_length + 1 + config.rows + config.columns
    return gpt_parameters(config.gpt()) + tables * config.embed_dim


def keys_seen(config: DALLEConfig) -> Sequence[float]:
    """How many keys a query of a sequence sees on average, in each layer."""
    places = np.arange(config.length)
    causal = places[None] <= places[:, None]
    kinds, which = patterns_in_use(config)
    seen = [float((np.asarray(may_see(config, kind, places[:, None], places[None])) & causal).sum(1).mean()) for kind in kinds]
    return [seen[number] for number in which]
