"""Published sizes have the published parameter counts; FLOPs are those of the papers."""

import jax
import jax.numpy as jnp
import pytest

from genjax.models.gpt import GPT, GPTConfig, flops_per_token, parameter_count
from genjax.models.gpt_sizes import GPT_SIZES

PUBLISHED = {
    "gpt1_117m": 116_534_784,
    "gpt2_124m": 124_439_808,
    "gpt2_355m": 354_823_168,
    "gpt2_774m": 774_030_080,
    "gpt2_1558m": 1_557_611_200,
    "gpt3_175b": 174_604_259_328,
    "llama_1b": 1_235_814_400,
    "llama_7b": 6_738_415_616,
    "llama_70b": 68_976_648_192,
}
# Chen et al., 2021, table 1: the names are counts without embeddings.
CODEX = {"12m": 12e6, "25m": 25e6, "42m": 42e6, "85m": 85e6, "300m": 300e6, "679m": 679e6, "2500m": 2.5e9, "12b": 12e9}


@pytest.mark.parametrize("size", CODEX)
def test_codex_sizes_bear_their_names(size):
    config = GPT_SIZES[f"codex_{size}"]
    embeddings = (config.vocab_size + config.context_length) * config.embed_dim
    assert parameter_count(config) - embeddings == pytest.approx(CODEX[size], rel=0.06)


@pytest.mark.parametrize("size", PUBLISHED)
def test_parameters_are_counted_as_published(size):
    config = GPT_SIZES[size]
    shapes = jax.eval_shape(lambda: GPT(config).init(jax.random.key(0), jnp.zeros((1, 8), jnp.int32)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == PUBLISHED[size] == parameter_count(config)


@pytest.mark.parametrize("size", GPT_SIZES)
def test_every_parameter_names_its_axes(size):
    boxed = jax.eval_shape(lambda: GPT(GPT_SIZES[size]).init(jax.random.key(0), jnp.zeros((1, 8), jnp.int32)))
    for path, box in jax.tree_util.tree_flatten_with_path(boxed, is_leaf=lambda x: hasattr(x, "names"))[0]:
        assert len(box.names) == box.value.ndim and None not in box.names, path


def test_flops_of_gpt3():
    """Brown et al., 2020, table D.1: 174,600 million parameters, 6 of them a token, attention left out: 3.14e23 for 300 billion
    tokens. The tables of tokens and positions are 0.6 billion of these, the output head is counted."""
    flops = flops_per_token(GPT_SIZES["gpt3_175b"], length=1) * 300e9
    assert flops == pytest.approx(3.14e23, rel=0.005)


def test_flops_of_attention():
    config = GPTConfig()
    whole, half = (flops_per_token(config, 1024, causal_half=h) for h in (False, True))
    kernels = 6 * (parameter_count(config) - 1024 * 768 - 12 * (4 * 768 + 9 * 768) - 2 * 768)
    assert whole == kernels + 12 * 12 * 768 * 1024  # Chowdhery et al., 2022, appendix B
    assert half == kernels + 6 * 12 * 768 * 1024


@pytest.mark.parametrize("window", [1, 7, 64, 100])
def test_flops_of_a_sliding_window(window):
    """Each query sees min(i + 1, window) keys; the closed form counts half a key less for each."""
    length, config = 64, GPTConfig(sliding_window=window)
    seen = sum(min(i + 1, window) for i in range(length)) / length
    counted = (flops_per_token(config, length) - flops_per_token(config, 0)) / (12 * 12 * 768)
    assert counted == pytest.approx(seen, abs=0.51)
