"""Transformer blocks, and stacks of them: scanned or unrolled, rematerialized by a named policy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from genjax.config import choose
from genjax.errors import ConfigError
from genjax.layers.attention import Implementation
from genjax.layers.cache import KVCache
from genjax.layers.linear import PRODUCT
from genjax.layers.mlp import MLP, Activation
from genjax.layers.multihead import MultiHeadAttention
from genjax.layers.norm import LayerNorm, RMSNorm
from genjax.parallel.rules import constrain

Norm = Literal["layernorm", "rmsnorm"]
NormPosition = Literal["pre", "post"]
# (number of the block, residual stream [batch length features]) -> residual stream
BeforeBlock = Callable[[int, Float[Array, "batch length features"]], Float[Array, "batch length features"]]
Remat = Literal["none", "full", "dots", "attention", "dots_and_attention"]

_POLICIES = jax.checkpoint_policies
_DOTS = _POLICIES.save_from_both_policies(_POLICIES.dots_with_no_batch_dims_saveable, _POLICIES.save_only_these_names(PRODUCT))
_ATTENTION = _POLICIES.save_only_these_names("attention_out")

# What the backward pass keeps of a block's forward pass; the rest is computed again.
REMAT_POLICIES: Mapping[str, Callable | None] = MappingProxyType(
    {
        "none": None,  # everything is kept, nothing computed twice
        "full": _POLICIES.nothing_saveable,  # only the block's input
        "attention": _ATTENTION,  # also attention's output
        "dots": _DOTS,  # also the outputs of projections
        "dots_and_attention": _POLICIES.save_from_both_policies(_DOTS, _ATTENTION),
    }
)


@dataclass(frozen=True)
class BlockConfig:
    """The hyper-parameters of one block.

    Attributes:
        num_heads, num_kv_heads, head_dim: query heads, key and value heads, width of a head.
        mlp_dim: width of the MLP's hidden layer.
        causal: whether a token sees only those before it.
        sliding_window: how many tokens it sees at most, itself included; 0 for all.
        norm, norm_epsilon: kind of normalization, and what is added to its variance.
        norm_position: "pre" normalizes what a sublayer reads, "post" the sum it leaves (Vaswani et al., 2017).
        activation, gated: the MLP's.
        use_bias: biases on projections and in LayerNorm.
        input_bias, key_bias: whether, then, query, key and value have one, and the key.
        attention_scale: what inner products are multiplied by; None for head_dim ** -0.5 (T5: 1.0).
        query_std: standard deviation of the query's kernel; None for that of all kernels.
        cross: whether a second attention, to the context of `BlockInputs`, stands between the first and the MLP.
        dropout: share of each sublayer's output that is dropped while training.
        dtype: the computation's dtype.
        attention: the attention kernel.
        init_std: standard deviation of kernels.
        residual_std: that of the kernels that write into the residual stream.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_dim: int
    causal: bool = True
    sliding_window: int = 0
    norm: Norm = "layernorm"
    norm_epsilon: float = 1e-5
    norm_position: NormPosition = "pre"
    activation: Activation = "gelu_tanh"
    gated: bool = False
    use_bias: bool = True
    input_bias: bool = True
    key_bias: bool = True
    attention_scale: float | None = None
    query_std: float | None = None
    cross: bool = False
    dropout: float = 0.0
    dtype: str = "float32"
    attention: Implementation = "auto"
    init_std: float = 0.02
    residual_std: float = 0.02


class StackConfig:
    """What configs of stacks of blocks share: dataclasses with `num_heads`, `embed_dim` and `mlp_dim`, of which 0 stands for
    4 * embed_dim, and where there are such `head_dim` and `num_kv_heads`, of which 0 stands for embed_dim / num_heads and
    num_heads."""

    @property
    def kv_heads(self) -> int:
        """Key and value heads."""
        return getattr(self, "num_kv_heads", 0) or self.num_heads

    @property
    def head_width(self) -> int:
        """Width of a head."""
        return getattr(self, "head_dim", 0) or self.embed_dim // self.num_heads

    @property
    def hidden_width(self) -> int:
        """Width of the MLP's hidden layer."""
        return self.mlp_dim or 4 * self.embed_dim

    def _block(self, **others: Any) -> BlockConfig:
        """A block of these widths, with all fields that config and block both have, and others."""
        widths = {"num_kv_heads": self.kv_heads, "head_dim": self.head_width, "mlp_dim": self.hidden_width}
        common = {field.name: getattr(self, field.name) for field in fields(BlockConfig) if hasattr(self, field.name)}
        return BlockConfig(**common | widths | others)


@struct.dataclass
class BlockInputs:
    """What every block of a stack reads beside its own input.

    Attributes:
        rotary: cosines and sines [batch length head_dim/2], or None.
        segment_ids: int [batch length], or None.
        mask, bias: of self-attention, [#batch #heads length keys], or None.
        masks: in the place of `mask`, the masks of several patterns, of which each layer has one; or None.
        pattern: which one each layer has.
        context: what cross-attention reads, or None; not read with a cache that holds its keys and values.
        context_segment_ids: int [batch context_length], None where nothing is padded; a token sees its own segment, or where
            `segment_ids` is None segment 1.
        condition: what blocks that are modulated are told of each sample, or None.
    """

    rotary: tuple[Float[Array, "batch length half"], Float[Array, "batch length half"]] | None = None
    segment_ids: Int[Array, "batch length"] | None = None
    mask: Bool[Array, "#batch #heads length keys"] | None = None
    masks: Bool[Array, "patterns #batch #heads length keys"] | None = None
    pattern: Int[Array, "layers"] | None = None
    bias: Float[Array, "#batch #heads length keys"] | None = None
    context: Float[Array, "batch context_length context_features"] | None = None
    context_segment_ids: Int[Array, "batch context_length"] | None = None
    condition: Float[Array, "batch condition_features"] | None = None

    def mask_of(self, layer: int | Int[Array, ""]) -> Bool[Array, "#batch #heads length keys"] | None:
        """What self-attention of a layer may see."""
        return self.mask if self.masks is None else self.masks[jnp.asarray(self.pattern)[layer]]


class Carry(NamedTuple):
    """What passes from block to block: the residual stream and the cache."""

    x: Float[Array, "batch length features"]
    cache: KVCache | None


def make_norm(kind: Norm, epsilon: float, use_bias: bool, dtype: str, name: str | None = None) -> nn.Module:
    """A LayerNorm or an RMSNorm."""
    if kind == "rmsnorm":
        return RMSNorm(epsilon, dtype=jnp.dtype(dtype), name=name)
    return LayerNorm(epsilon, use_bias=use_bias, dtype=jnp.dtype(dtype), name=name)


def make_attention(config: BlockConfig, cross: bool, name: str | None = None, detached: bool = False) -> MultiHeadAttention:
    """A block's self-attention, or its cross-attention; `detached` to apply it to parameters at hand inside another module."""
    c = config
    return MultiHeadAttention(
        **({"parent": None} if detached else {}),
        num_heads=c.num_heads,
        num_kv_heads=c.num_kv_heads,
        head_dim=c.head_dim,
        causal=c.causal and not cross,
        sliding_window=0 if cross else c.sliding_window,
        scale=c.attention_scale,
        use_bias=c.use_bias,
        input_bias=c.input_bias,
        key_bias=c.key_bias,
        implementation=c.attention,
        kernel_init=nn.initializers.normal(c.init_std),
        query_init=None if c.query_std is None else nn.initializers.normal(c.query_std),
        out_init=nn.initializers.normal(c.residual_std),
        dtype=jnp.dtype(c.dtype),
        name=name,
    )


class Block(nn.Module):
    """Self-attention, cross-attention where the config has it, and an MLP, each added to the residual stream."""

    config: BlockConfig

    @nn.compact
    def __call__(self, carry: Carry, layer: int | Int[Array, ""], inputs: BlockInputs, deterministic: bool) -> tuple[Carry, None]:
        """`layer` numbers the block in the cache. Returns the carry, and None for `nn.scan` to stack."""
        c = self.config
        x, cache = carry

        def sublayer(name: str, x: Array, function: Callable[[Array], Array]) -> Array:
            """x + function(x), normalized before or after."""
            norm = make_norm(c.norm, c.norm_epsilon, c.use_bias, c.dtype, name)
            y = function(norm(x) if c.norm_position == "pre" else x)
            y = nn.Dropout(c.dropout)(y, deterministic=deterministic) if c.dropout else y
            x = constrain(x + y, "activation_batch", "activation_length", "activation_embed")
            return norm(x) if c.norm_position == "post" else x

        def attend(x: Array) -> Array:
            nonlocal cache
            own = {"rotary": inputs.rotary, "segment_ids": inputs.segment_ids, "bias": inputs.bias}
            own["mask"] = inputs.mask_of(layer)
            y, cache = make_attention(c, cross=False, name="attention")(x, **own, cache=cache, layer=layer)
            return y

        def attend_context(x: Array) -> Array:
            attention = make_attention(c, cross=True, name="cross_attention")
            if cache is not None and (known := cache.cross(layer)) is not None:
                return attention(x, keys_values=known, context_segment_ids=cache.cross_segment_ids)[0]
            ids, context_ids = inputs.segment_ids, inputs.context_segment_ids
            if context_ids is None:
                ids = None
            elif ids is None:
                ids = jnp.ones(x.shape[:2], jnp.int32)
            return attention(x, inputs.context, segment_ids=ids, context_segment_ids=context_ids)[0]

        mlp = MLP(
            c.mlp_dim,
            activation=c.activation,
            gated=c.gated,
            use_bias=c.use_bias,
            kernel_init=nn.initializers.normal(c.init_std),
            out_init=nn.initializers.normal(c.residual_std),
            dtype=jnp.dtype(c.dtype),
            name="mlp",
        )
        x = sublayer("attention_norm", x, attend)
        if c.cross:
            x = sublayer("cross_norm", x, attend_context)
        return Carry(sublayer("mlp_norm", x, mlp), cache), None


def make_blocks(
    config: Any, num_layers: int, scan_layers: bool, remat: Remat, kind: type[nn.Module] = Block
) -> nn.Module | list[nn.Module]:
    """The blocks of a stack, to be assigned to `self.blocks` in a module's `setup`.

    Scanned, they are one module whose parameters have a leading layers axis: compile time does not grow with depth. Unrolled,
    they are a list, `blocks_0`, `blocks_1`, ..., which runs faster on CPU and in decoding.

    Args:
        config: of each block; a `BlockConfig` for a `Block`.
        kind: another module of a config that is called as `Block` is.
    """
    policy = choose("remat", remat, REMAT_POLICIES)
    block = kind
    if policy is not None:
        # Static: `deterministic`, counted without self. Inside a scan the compiler cannot merge the two computations anyway.
        block = nn.remat(kind, policy=policy, prevent_cse=not scan_layers, static_argnums=(4,))
    if not scan_layers:
        return [block(config) for _ in range(num_layers)]
    scanned = nn.scan(
        block,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(0, nn.broadcast, nn.broadcast),
        length=num_layers,
        metadata_params={nn.PARTITION_NAME: "layers"},
    )
    return scanned(config)


def run_blocks(
    blocks: nn.Module | Sequence[nn.Module],
    num_layers: int,
    x: Float[Array, "batch length features"],
    inputs: BlockInputs,
    cache: KVCache | None = None,
    deterministic: bool = True,
    before_block: BeforeBlock | None = None,
) -> tuple[Float[Array, "batch length features"], KVCache | None]:
    """Passes x through the blocks of `make_blocks`; the returned cache has advanced by x's length.

    Args:
        before_block: changes the residual stream before each block.

    Raises:
        ConfigError: `before_block` where blocks are scanned.
    """
    carry = Carry(x, cache)
    if isinstance(blocks, nn.Module):
        if before_block is not None:
            raise ConfigError("layers between the blocks need blocks that are apart; set model.scan_layers=False.")
        carry, _ = blocks(carry, jnp.arange(num_layers), inputs, deterministic)
    else:
        for layer, block in enumerate(blocks):
            if before_block is not None:
                carry = carry._replace(x=before_block(layer, carry.x))
            carry, _ = block(carry, layer, inputs, deterministic)
    return carry.x, None if carry.cache is None else carry.cache.advance(x.shape[1])


def stack_blocks(params: Mapping[str, Any]) -> dict[str, Any]:
    """`blocks_0`, `blocks_1`, ... joined to one `blocks` with a leading layers axis; the rest as it is."""
    names = sorted((name for name in params if name.startswith("blocks_")), key=lambda name: int(name.removeprefix("blocks_")))
    rest = {name: value for name, value in params.items() if name not in names}
    return {**rest, "blocks": jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params[name] for name in names))}


def unstack_blocks(params: Mapping[str, Any]) -> dict[str, Any]:
    """`blocks` with a leading layers axis split to `blocks_0`, `blocks_1`, ...; the rest as it is."""
    blocks = params["blocks"]
    count = jax.tree.leaves(blocks)[0].shape[0]
    rest = {name: value for name, value in params.items() if name != "blocks"}
    return {**rest, **{f"blocks_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], blocks) for i in range(count)}}
