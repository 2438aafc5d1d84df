"""Two levels of codes: what each reads, and that codes say all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import ConfigError
from genjax.models.autoencoder_config import AutoencoderConfig
from genjax.models.two_level import TwoLevelAutoencoder, TwoLevelConfig, forward_flops
from genjax.quantization.residual import ResidualConfig
from genjax.quantization.vector import VectorConfig

PLAIN = dict(blocks=1, groups=4, attention_levels=(), middle_attention=False, latent_channels=6)
BOTTOM = AutoencoderConfig(VectorConfig(20, 5), 3, widths=(8, 8), **PLAIN)
TOP = AutoencoderConfig(VectorConfig(10, 4), 6, widths=(8, 12), **PLAIN)
X = np.random.default_rng(0).uniform(-1, 1, (2, 16, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    module = TwoLevelAutoencoder(TwoLevelConfig(BOTTOM, TOP))
    variables = module.init(jax.random.key(0), X)
    codebooks = jax.tree.map(lambda x: x + jax.random.normal(jax.random.key(1), x.shape), variables["codebook"])
    return module, variables | {"codebook": codebooks}


def test_codes_of_both_levels_say_all_that_is_decoded(model):
    module, variables = model
    made, quantized = jax.jit(module.apply)(variables, X)
    coarse, fine = quantized.codes
    assert made.shape == X.shape and coarse.shape == (2, 4, 2) and fine.shape == (2, 8, 4)
    again = module.apply(variables, quantized.codes, method="decode_codes")
    np.testing.assert_allclose(again, made, atol=1e-5)
    other = module.apply(variables, ((coarse + 1) % 10, fine), method="decode_codes")
    assert np.abs(np.asarray(other - made)).max() > 1e-3


def test_what_is_counted_is_what_the_compiler_counts(model):
    """To the norms, activations and codebooks, which are not counted."""
    module, variables = model
    compiled = jax.jit(lambda x: module.apply(variables, x)[0]).lower(jnp.asarray(X)).compile()
    assert forward_flops(module.config, 16, 8) * 2 == pytest.approx(compiled.cost_analysis()["flops"], rel=0.2)


def test_what_cannot_be():
    with pytest.raises(ConfigError, match="model.top.channels is 6; .* of which there are 7"):
        TwoLevelConfig(AutoencoderConfig(VectorConfig(20, 5), 3, widths=(8, 8), **PLAIN | {"latent_channels": 7}), TOP)
    with pytest.raises(ConfigError, match="model.bottom.bottleneck has no code for each place"):
        TwoLevelConfig(AutoencoderConfig(ResidualConfig(), 3, widths=(8, 8), **PLAIN), TOP)
