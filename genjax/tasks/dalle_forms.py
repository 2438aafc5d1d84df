"""The two forms of a DALL-E: one sequence of text and codes (Ramesh et al., 2021), or an encoder that reads the text and a
decoder that writes the codes (dalle-mini)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from genjax.config import structure
from genjax.errors import ConfigError
from genjax.layers.cache import KVCache, init_cache
from genjax.models.dalle import DALLE, DALLEConfig, keys_seen, padded, parameter_count, sequences
from genjax.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig, flops_per_pair
from genjax.tasks.contract import Batch
from genjax.tasks.decoding_weights import for_decoding, gpt_variables, unrolled
from genjax.tasks.losses import token_cross_entropy

Variables = Mapping[str, Any]


class Sizes(NamedTuple):
    """What the data and the first stage say: ids and places of texts, ids, rows and columns of codes."""

    text_vocab: int
    text_length: int
    codes: int
    rows: int
    columns: int

    @property
    def places(self) -> int:
        """Codes of an image."""
        return self.rows * self.columns


class Form(Protocol):
    """What a task asks of its network.

    Attributes:
        sizes: of texts and codes.
        dropout: whether a key is needed while training.
        first_code: the id of code 0 among all ids.
        limit: the most tokens that a prompt and its codes are together.
    """

    sizes: Sizes

    @property
    def dropout(self) -> float: ...

    @property
    def first_code(self) -> int: ...

    @property
    def limit(self) -> int: ...

    def init(self, key: jax.Array) -> Variables: ...

    def for_decoding(self) -> "Form":
        """The same, of `decoding_variables`."""

    def decoding_variables(self, variables: Variables) -> Variables:
        """See `tasks.decoding_weights`."""

    def nats(
        self,
        variables: Variables,
        texts: Int[Array, "batch text_length"],
        within: Bool[Array, "batch text_length"],
        told: Bool[Array, "batch 1"],
        codes: Int[Array, "batch places"],
        rngs: Mapping[str, jax.Array] | None,
    ) -> tuple[Float[Array, "batch text_length"] | None, Float[Array, "batch places"], Bool[Array, "batch places"]]:
        """Of each token of texts (None where they are only read), of each code, and which codes are the likeliest.

        Args:
            texts: rows of the data's tokens.
            within: which of them are not behind the end of their text.
            told: False for rows that are told no text.
        """

    def prompts(
        self, texts: Int[np.ndarray, "requests text_length"], within: Bool[np.ndarray, "requests text_length"]
    ) -> tuple[list[list[int]], list[Int[np.ndarray, " tokens"]] | None]:
        """What decoding begins with, and what an encoder reads, for each text; where nothing is within, it asks for anything."""

    def new_cache(self, variables: Variables, batch: Batch, guided: bool, prompts: int, slots: int) -> KVCache:
        """An empty cache; guided, with as many rows again, which are told no text, behind those that are."""

    def advance(
        self, variables: Variables, tokens: Int[Array, "rows length"], cache: KVCache, guided: bool
    ) -> tuple[Float[Array, "rows codes"], KVCache]:
        """Logits of the next code after tokens; guided, of all rows with their text and then of all without."""

    def place(self, cache: KVCache) -> Int[Array, ""]:
        """Which code comes next."""

    def flops(self) -> float:
        """Of training on one image and its text."""

    def describe(self) -> str: ...


@dataclass(frozen=True)
class OneSequence:
    """Text and codes in one GPT."""

    config: DALLEConfig

    @property
    def sizes(self) -> Sizes:
        c = self.config
        return Sizes(c.text_vocab, c.text_length, c.codes, c.rows, c.columns)

    @property
    def dropout(self) -> float:
        return self.config.dropout

    @property
    def first_code(self) -> int:
        return self.config.first_code

    @property
    def limit(self) -> int:
        return self.config.length + 1

    @property
    def model(self) -> DALLE:
        return DALLE(self.config)

    def init(self, key):
        return self.model.init(key, jnp.zeros((1, 8), jnp.int32))

    def for_decoding(self):
        return OneSequence(unrolled(self.config))

    def decoding_variables(self, variables):
        return gpt_variables(for_decoding(variables["params"], self.config.dtype), "gpt")

    def nats(self, variables, texts, within, told, codes, rngs):
        c = self.config
        texts = padded(c, texts, within & told)
        read = sequences(c, texts, codes)
        hidden, _ = self.model.apply(variables, read, deterministic=rngs is None, rngs=rngs, method="hidden")
        parts = []
        for places, ids, targets in (
            (slice(c.text_length), c.text_ids, texts),
            (slice(c.text_length, None), c.code_ids, codes),
        ):
            logits = self.model.apply(variables, hidden[:, places], ids, method="logits")
            parts.append((token_cross_entropy(logits, targets), jnp.argmax(logits, -1) == targets))
        (text, _), (image, correct) = parts
        return text * told, image, correct

    def prompts(self, texts, within):
        rows = np.asarray(padded(self.config, texts, within))
        return [[self.config.bos, *row.tolist()] for row in rows], None

    def new_cache(self, variables, batch, guided, prompts, slots):
        c, rows = self.config.gpt(), prompts * (1 + guided)
        return init_cache(c.num_layers, rows, slots, c.kv_heads, c.head_width, jnp.dtype(c.dtype), stacked=c.scan_layers)

    def advance(self, variables, tokens, cache, guided):
        c, other = self.config, tokens
        if guided and tokens.shape[1] > 1:  # the prompts
            nothing = padded(c, tokens[:, 1:], jnp.zeros((len(tokens), c.text_length), bool))
            other = jnp.concatenate([tokens[:, :1], nothing], axis=1)
            cache = cache.replace(start=jnp.tile(cache.start, 2))
        tokens = jnp.concatenate([tokens, other]) if guided else tokens
        hidden, cache = self.model.apply(variables, tokens, cache=cache, method="hidden")
        return self.model.apply(variables, hidden[:, -1:], c.code_ids, method="logits")[:, 0], cache

    def place(self, cache):
        return cache.index - 1 - self.config.text_length

    def flops(self):
        """Six for every parameter of a kernel that a token meets, 12 * head width for every head and key that a pattern shows."""
        c = self.config
        kernels = parameter_count(c) - (c.text_length + 1 + c.rows + c.columns) * c.embed_dim
        return c.length * (6.0 * kernels + 12.0 * c.embed_dim * sum(keys_seen(c)))

    def describe(self):
        c = self.config
        patterns = ", ".join(dict.fromkeys(c.layer_patterns()))
        return (
            f"{c.text_length} tokens of text and {c.rows}x{c.columns} codes of {c.codes:,} in one sequence; attention: {patterns}"
        )


@dataclass(frozen=True)
class TwoStacks:
    """An encoder of the text and a decoder of the codes. Ids: the text's vocabulary, what codes begin with, the codes."""

    config: EncoderDecoderConfig
    sizes: Sizes

    @property
    def dropout(self) -> float:
        return self.config.dropout

    @property
    def first_code(self) -> int:
        return self.sizes.text_vocab + 1

    @property
    def code_ids(self) -> slice:
        return slice(self.first_code, None)

    @property
    def limit(self) -> int:
        return self.sizes.places + 1

    @property
    def model(self) -> EncoderDecoder:
        return EncoderDecoder(self.config)

    def init(self, key):
        tokens = jnp.zeros((1, 4), jnp.int32)
        return self.model.init(key, tokens, tokens)

    def for_decoding(self):
        return TwoStacks(unrolled(self.config), self.sizes)

    def decoding_variables(self, variables):
        return {"params": for_decoding(variables["params"], self.config.dtype)}

    def nats(self, variables, texts, within, told, codes, rngs):
        texts, seen = self._told(texts, within & told)
        start = jnp.full((len(texts), 1), self.sizes.text_vocab, jnp.int32)
        read = jnp.concatenate([start, codes[:, :-1] + self.first_code], axis=1)
        deterministic = rngs is None

        def of_codes(model):
            context = model.encode(texts, segment_ids=seen, deterministic=deterministic)
            hidden, _ = model.decode(read, context, context_segment_ids=seen, deterministic=deterministic)
            return model.logits(hidden, self.code_ids)

        logits = self.model.apply(variables, rngs=rngs, method=of_codes)
        return None, token_cross_entropy(logits, codes), jnp.argmax(logits, -1) == codes

    def _told(self, texts, within) -> tuple[Int[Array, "batch text_length"], Int[Array, "batch text_length"]]:
        """What the encoder reads, and 1 for tokens of it; where a text says nothing, one token that no text has."""
        silent = ~within.any(1)
        texts = texts.at[:, 0].set(jnp.where(silent, self.sizes.text_vocab, texts[:, 0]))
        return texts, within.at[:, 0].set(within[:, 0] | silent).astype(jnp.int32)

    def prompts(self, texts, within):
        read, seen = (np.asarray(x) for x in self._told(jnp.asarray(texts), jnp.asarray(within)))
        return [[self.sizes.text_vocab] for _ in texts], [row[: own.sum()] for row, own in zip(read, seen, strict=True)]

    def new_cache(self, variables, batch, guided, prompts, slots):
        texts, seen = batch["source"], batch["source_mask"]
        if guided:
            nothing = self._told(texts, jnp.zeros(seen.shape, bool))
            texts, seen = (jnp.concatenate(pair) for pair in zip((texts, seen), nothing, strict=True))

        def begin(model, texts, seen):
            return model.start_cache(model.encode(texts, segment_ids=seen), seen, slots)

        return self.model.apply(variables, texts, seen, method=begin)

    def advance(self, variables, tokens, cache, guided):
        if guided:
            cache = cache if len(cache.start) == 2 * len(tokens) else cache.replace(start=jnp.tile(cache.start, 2))
            tokens = jnp.concatenate([tokens, tokens])
        hidden, cache = self.model.apply(variables, tokens, cache=cache, method="decode")
        return self.model.apply(variables, hidden[:, -1:], self.code_ids, method="logits")[:, 0], cache

    def place(self, cache):
        return cache.index - 1

    def flops(self):
        """See `models.encoder_decoder.flops_per_pair`."""
        return flops_per_pair(self.config, self.sizes.text_length, self.sizes.places)

    def describe(self):
        s = self.sizes
        return f"{s.text_length} tokens of text are read, {s.rows}x{s.columns} codes of {s.codes:,} written"


# What makes an encoder-decoder of today of the fields' defaults, which are T5's.
_STACKS = {
    "norm": "layernorm",
    "activation": "gelu_tanh",
    "use_bias": True,
    "scale_attention": True,
    "position": "relative",
    "tie_embeddings": False,
    "scale_logits": False,
    "dropout": 0.0,
}


def make_form(name: str, section: Mapping[str, Any], sizes: Sizes) -> Form:
    """The form that `config.task.form` and `config.task.model` describe. Raises ConfigError: fields that it does not have."""
    if name == "one_sequence":
        return OneSequence(structure(DALLEConfig, dict(section) | sizes._asdict(), "config.task.model"))
    values = {key: value for key, value in section.items() if key not in sizes._asdict()}
    if given := {"vocab_size", "start_id"} & set(values):
        raise ConfigError(f"config.task.model sets {', '.join(sorted(given))}, which follow from texts and codes; leave it out.")
    ids = {"vocab_size": sizes.text_vocab + 1 + sizes.codes, "start_id": sizes.text_vocab}
    return TwoStacks(structure(EncoderDecoderConfig, _STACKS | values | ids, "config.task.model"), sizes)
