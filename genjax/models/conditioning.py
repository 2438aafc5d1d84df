"""What every block of a denoiser is told of its sample: one vector of its time, its classes and what else comes with it."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Real

from genjax.errors import ConfigError
from genjax.layers.embedding import Embedding
from genjax.layers.linear import Initializer, Projection
from genjax.layers.position import time_frequencies


class ConditionEmbedding(nn.Module):
    """Two layers of the time's frequencies (Ho et al., 2020, appendix B), to which classes and a vector are added. In float32: it
    is little work, and times near each other must stay apart.

    Attributes:
        features: of the result.
        frequencies: numbers that describe the time at first.
        shift, sine_first: see `time_frequencies`.
        class_rows: classes, that of no class among them; 0 for none.
        early_classes: whether classes are added before the two layers (Karras et al., 2022, DDPM++) or after them.
        condition_features: of the vector, which is added before the two layers; 0 for none.
        kernel_init, class_init, condition_init: initializers of the two layers, of the classes' rows, of the vector's kernel.
    """

    features: int
    frequencies: int
    shift: int = 0
    sine_first: bool = False
    class_rows: int = 0
    early_classes: bool = False
    condition_features: int = 0
    kernel_init: Initializer = nn.initializers.normal(0.02)
    class_init: Initializer = nn.initializers.normal(0.02)
    condition_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(
        self,
        times: Real[Array, "batch"],
        classes: Int[Array, "batch"] | Int[Array, "batch attributes"] | None = None,
        condition: Float[Array, "batch condition_features"] | None = None,
    ) -> Float[Array, "batch features"]:
        """
        Args:
            classes: rows of the one table; those of several attributes are added.
            condition: the vector; None: zeros.

        Raises:
            ConfigError: classes or a vector for a network that knows none, no classes for one that does, or a wrong width.
        """
        self._check(classes, condition)
        dense = lambda name: Projection((self.features,), ("embed", "mlp"), kernel_init=self.kernel_init, name=name)  # noqa: E731
        x = time_frequencies(times, self.frequencies, self.shift, self.sine_first)
        if self.condition_features:
            given = jnp.zeros((len(x), self.condition_features)) if condition is None else condition
            axes, init = (None, "embed"), self.condition_init
            x = x + Projection((self.frequencies,), axes, use_bias=False, kernel_init=init, name="condition")(given)
        if self.class_rows and self.early_classes:
            x = x + self._of_classes(classes)
        x = dense("time_2")(nn.silu(dense("time_1")(x)))
        return x + self._of_classes(classes) if self.class_rows and not self.early_classes else x

    def _of_classes(self, classes):
        features = self.frequencies if self.early_classes else self.features
        rows = Embedding(self.class_rows, features, None, self.class_init, name="classes")(classes)
        return rows.sum(1) if classes.ndim == 2 else rows

    def _check(self, classes, condition) -> None:
        if (classes is not None) != bool(self.class_rows):
            given = "was given classes" if classes is not None else "was given no classes"
            raise ConfigError(f"the network {given}; it knows {self.class_rows} (model.num_classes, and the null class).")
        if condition is not None and condition.shape[-1] != self.condition_features:
            raise ConfigError(
                f"the network was given conditions of {condition.shape[-1]} features; it has model.condition_features "
                f"{self.condition_features}."
            )
