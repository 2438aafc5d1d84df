"""DiT: a transformer over the patches of a noisy image or latent, modulated by time and class (Peebles and Xie, 2023)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Real

from genjax.errors import ConfigError
from genjax.layers.attention import Implementation
from genjax.layers.linear import Projection, uniform_init
from genjax.layers.mlp import MLP, Activation
from genjax.layers.multihead import MultiHeadAttention
from genjax.layers.norm import LayerNorm
from genjax.layers.patches import PatchEmbedding
from genjax.layers.position import grid_positions
from genjax.models.checks import check_sizes
from genjax.models.conditioning import ConditionEmbedding
from genjax.models.transformer import BlockInputs, Carry, Remat, make_blocks, run_blocks
from genjax.parallel.rules import constrain

TIME_FREQUENCIES = 256


@dataclass(frozen=True)
class DiTConfig:
    """The hyper-parameters of a DiT. The defaults are DiT-XL/2 for ImageNet at 256x256, 675M parameters.

    Attributes:
        sample_size: rows and columns of a sample whose patches are a step of 1 apart; those of other sizes cover the same area.
        patch_size: rows and columns of a patch; a sample has a multiple of them.
        in_channels: of a sample.
        out_channels: of what is said of it: as many, or twice as many where variances are learned.
        num_layers, num_heads, embed_dim: depth, heads, width of the residual stream, a multiple of 4.
        mlp_dim: width of the MLP's hidden layer; 0 for 4 * embed_dim.
        num_classes: 0 for a network that knows none. Class `num_classes` is that of no class, where `null_class`.
        null_class: whether there is a class more, "none", which guidance needs.
        frequency_shift: subtracted from the number of the time's frequencies: 0 in the paper's code, 1 in diffusers.
        activation: the MLP's.
        norm_epsilon: what norms add to the variance, but for those before an MLP.
        mlp_norm_epsilon: what those add (1e-5 in the files of diffusers).
        dropout: share dropped, while training, of each sublayer's output.
        scan_layers, remat, dtype, attention: see `GPTConfig`.
    """

    sample_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    out_channels: int = 8
    num_layers: int = 28
    num_heads: int = 16
    embed_dim: int = 1152
    mlp_dim: int = 0
    num_classes: int = 1000
    null_class: bool = True
    frequency_shift: int = 0
    activation: Activation = "gelu_tanh"
    norm_epsilon: float = 1e-6
    mlp_norm_epsilon: float = 1e-6
    dropout: float = 0.0
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Implementation = "auto"

    def __post_init__(self):
        sizes = ("sample_size", "patch_size", "in_channels", "out_channels", "num_layers", "num_heads", "embed_dim")
        check_sizes(self, sizes, ("mlp_dim", "num_classes"))
        if self.embed_dim % 4:
            raise ConfigError(
                f"model.embed_dim is {self.embed_dim}; positions need sines and cosines of rows and columns: a multiple of 4."
            )
        if self.sample_size % self.patch_size:
            raise ConfigError(f"model.sample_size {self.sample_size} does not divide into patches of {self.patch_size}.")

    @property
    def grid(self) -> int:
        """Rows and columns of patches in a sample of `sample_size`."""
        return self.sample_size // self.patch_size

    @property
    def hidden_width(self) -> int:
        """`mlp_dim` with its default filled in."""
        return self.mlp_dim or 4 * self.embed_dim

    @property
    def class_rows(self) -> int:
        return self.num_classes + self.null_class if self.num_classes else 0


class DiTBlock(nn.Module):
    """Self-attention and an MLP; the condition says, for both, shift and scale of the norm before and scale of the result
    (section 3.2, adaLN-Zero). It begins as the identity."""

    config: DiTConfig

    @nn.compact
    def __call__(self, carry: Carry, layer: int, inputs: BlockInputs, deterministic: bool) -> tuple[Carry, None]:
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation(6, inputs.condition, dtype)

        def sublayer(x, name: str, epsilon: float, function: Callable[[Array], Array], shift, scale, gate) -> Array:
            y = function(plain_norm(epsilon, dtype, name)(x) * (1 + scale) + shift)
            y = nn.Dropout(c.dropout)(y, deterministic=deterministic) if c.dropout else y
            return constrain(x + gate * y, "activation_batch", "activation_length", "activation_embed")

        attention = MultiHeadAttention(
            c.num_heads,
            c.num_heads,
            c.embed_dim // c.num_heads,
            causal=False,
            implementation=c.attention,
            kernel_init=_xavier(c.embed_dim, 3 * c.embed_dim),  # the paper's code has one kernel for the three
            out_init=_xavier(c.embed_dim, c.embed_dim),
            dtype=dtype,
            name="attention",
        )
        init = _xavier(c.embed_dim, c.hidden_width)
        mlp = MLP(c.hidden_width, activation=c.activation, kernel_init=init, out_init=init, dtype=dtype, name="mlp")
        x = sublayer(carry.x, "attention_norm", c.norm_epsilon, lambda x: attention(x)[0], shift, scale, gate)
        x = sublayer(x, "mlp_norm", c.mlp_norm_epsilon, mlp, mlp_shift, mlp_scale, mlp_gate)
        return carry._replace(x=x), None


class DiT(nn.Module):
    """A noisy sample, its time and its class to what is said of it."""

    config: DiTConfig

    def setup(self):
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        patch = _xavier(c.patch_size**2 * c.in_channels, c.embed_dim)
        self.patch_embed = PatchEmbedding(c.patch_size, c.embed_dim, kernel_init=patch, dtype=dtype)
        self.conditions = ConditionEmbedding(c.embed_dim, TIME_FREQUENCIES, c.frequency_shift, class_rows=c.class_rows)
        self.blocks = make_blocks(c, c.num_layers, c.scan_layers, c.remat, DiTBlock)
        self.final = FinalLayer(c)

    def __call__(
        self,
        x: Float[Array, "batch height width in_channels"],
        times: Real[Array, "batch"],
        classes: Int[Array, "batch"] | Int[Array, "batch attributes"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch height width out_channels"]:
        """The output in float32; where variances are learned, its second half of channels is theirs.

        Args:
            times: what the schedule calls the levels.
            classes: for a network that knows classes; the embeddings of several attributes, all rows of one table, are added.
            train: whether to drop (needs a "dropout" key).

        Raises:
            ConfigError: a sample of other channels or of no whole number of patches, or classes where there are none.
        """
        c, size = self.config, self.config.patch_size
        if x.ndim != 4 or x.shape[-1] != c.in_channels or x.shape[1] % size or x.shape[2] % size:
            raise ConfigError(
                f"a sample is {x.shape[1:]}; the network reads rows and columns that are multiples of {size}, and "
                f"{c.in_channels} channels."
            )
        batch, rows, columns = x.shape[0], x.shape[1] // size, x.shape[2] // size
        condition = self.conditions(times, classes)
        y = self.patch_embed(x)
        y = y + jnp.asarray(grid_positions(rows, columns, c.embed_dim, c.grid), y.dtype)
        y, _ = run_blocks(self.blocks, c.num_layers, y, BlockInputs(condition=condition), deterministic=not train)
        y = self.final(y, condition).reshape(batch, rows, columns, size, size, c.out_channels)
        return y.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * size, columns * size, c.out_channels)


class FinalLayer(nn.Module):
    """The norm, modulated once more, and the places of each patch. It begins as 0."""

    config: DiTConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch patches features"], condition: Float[Array, "batch features"]
    ) -> Float[Array, "batch patches size size out_channels"]:
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        shift, scale = modulation(2, condition, dtype)
        head = Projection(
            (c.patch_size, c.patch_size, c.out_channels),
            ("embed", None, None, None),
            kernel_init=nn.initializers.zeros,
            dtype=dtype,
            out_dtype=jnp.float32,
            name="head",
        )
        return head(plain_norm(c.norm_epsilon, dtype, "norm")(x) * (1 + scale) + shift)


def modulation(count: int, condition: Float[Array, "batch features"], dtype: jnp.dtype) -> list[Float[Array, "batch 1 features"]]:
    """`count` vectors of a condition, at first zeros; inside a compact module, whose parameters `modulation` they are of."""
    dense = Projection(
        (count, condition.shape[-1]), ("embed", None, "mlp"), kernel_init=nn.initializers.zeros, dtype=dtype, name="modulation"
    )
    return jnp.split(dense(nn.silu(condition)), count, axis=1)


def plain_norm(epsilon: float, dtype: jnp.dtype, name: str) -> LayerNorm:
    """A LayerNorm without parameters."""
    return LayerNorm(epsilon, use_bias=False, use_scale=False, dtype=dtype, name=name)


def flops_per_sample(config: DiTConfig) -> float:
    """Floating-point operations of training on one sample of `sample_size`, forward and backward: six for every multiplication
    of the forward pass, as `models.unet.flops_per_sample`. The paper counts one for it, and the forward pass alone.
    """
    c, width = config, config.embed_dim
    tokens = c.grid**2
    block = tokens * (4 * width**2 + 2 * width * c.hidden_width) + 2 * tokens**2 * width + 6 * width**2
    ends = tokens * c.patch_size**2 * (c.in_channels + c.out_channels) * width
    return 6.0 * (c.num_layers * block + ends + TIME_FREQUENCIES * width + 3 * width**2)


def _xavier(inputs: int, outputs: int):
    return uniform_init(2 / (inputs + outputs))
