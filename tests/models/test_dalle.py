"""DALL-E's GPT: what each pattern sees, by hand and by gradients; sequences, and decoding as if all were read at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from genjax.errors import ConfigError
from genjax.layers.cache import init_cache
from genjax.models.dalle import DALLE, DALLEConfig, keys_seen, may_see, padded, parameter_count, sequences
from genjax.models.transformer import stack_blocks

SMALL = DALLEConfig(
    text_vocab=11,
    text_length=3,
    codes=7,
    rows=4,
    columns=4,
    num_layers=3,
    num_heads=2,
    embed_dim=16,
    patterns=("row", "column"),
    last_pattern="conv",
    kernel=3,
    init_std=0.3,
)


def visible(pattern, query, config=SMALL):
    """Numbers of the codes that a code's own prediction looks at, by its number."""
    first = config.text_length + 1
    seen = may_see(config, pattern, np.array([[query + first]]), np.arange(query + first + 1)[None])
    return [int(k) - first for k in np.flatnonzero(seen[0]) if k >= first]


def test_patterns_by_hand():
    """Figure 11 of Ramesh et al., 2021, whose image has 4x4 codes, for the code in the third row and second column."""
    assert visible("full", 9) == list(range(10))
    assert visible("row", 9) == [5, 6, 7, 8, 9]
    assert visible("column", 9) == [1, 5, 9]
    assert visible("conv", 9) == [4, 5, 6, 8, 9]
    assert visible("conv", 8) == [3, 4, 5, 7, 8]  # over the end of a row
    whole = may_see(SMALL, "row", np.arange(19)[:, None], np.arange(19)[None])
    assert whole[:, :4].all() and whole[:4].all()  # text is seen by all


@pytest.fixture(scope="module")
def model():
    module = DALLE(SMALL)
    return module, nn.unbox(module.init(jax.random.key(0), jnp.zeros((1, 5), jnp.int32)))


def tokens(count=2):
    generator = np.random.default_rng(0)
    texts = generator.integers(0, 11, (count, 3))
    keep = np.array([[True, True, False], [True, True, True]])[:count]
    return sequences(SMALL, padded(SMALL, jnp.asarray(texts), keep), jnp.asarray(generator.integers(0, 7, (count, 16))))


def test_sequences_say_where_each_id_belongs():
    found = np.asarray(tokens())
    assert found.shape == (2, SMALL.length) and (found[:, 0] == SMALL.bos).all()
    assert found[0, 3] == 11 + 2  # the padding token of the third place
    assert (found[:, 4:] >= SMALL.first_code).all() and (found[:, 4:] < SMALL.first_code + 7).all()


def test_a_prediction_depends_on_what_its_layers_see(model):
    """One layer of each pattern: the gradient of a code's logits reaches those places, and no other."""
    _, variables = model
    for pattern in ("row", "column", "conv", "full"):
        config = DALLEConfig(**{**vars(SMALL), "num_layers": 1, "last_pattern": pattern})
        module = DALLE(config)
        params = nn.unbox(module.init(jax.random.key(0), tokens()))
        vectors = params["params"]["gpt"]["token_embed"]["embedding"][tokens(1)]

        def reach(vectors, module=module, params=params):
            def swap(next_fun, args, kwargs, context):
                return vectors if context.method_name == "embed" else next_fun(*args, **kwargs)

            with nn.intercept_methods(swap):
                return module.apply(params, tokens(1))[0, 4 + 9].sum()

        slopes = np.abs(np.asarray(jax.grad(reach)(vectors)))[0].max(-1)
        assert [int(k) - 4 for k in np.flatnonzero(slopes) if k >= 4] == visible(pattern, 9, config), pattern
        assert (slopes[:4] > 0).all()


@pytest.mark.parametrize("scan", [False, True])
def test_decoding_gives_what_reading_at_once_gives(model, scan):
    module, variables = model
    if scan:
        params = dict(variables["params"]) | {"gpt": stack_blocks(variables["params"]["gpt"])}
        module, variables = DALLE(DALLEConfig(**{**vars(SMALL), "scan_layers": True})), {"params": params}
    read = tokens()
    expected = module.apply(variables, read)
    # Two slots of padding before each row, as prompts of other lengths would leave.
    padding, prompt = 2, 6
    cache = init_cache(3, 2, SMALL.length + padding, 2, 8, stacked=scan, start=jnp.full((2,), padding))
    run = jax.jit(lambda tokens, cache: module.apply(variables, tokens, cache=cache, method="hidden"))
    filled = jnp.concatenate([jnp.zeros((2, padding), jnp.int32), read[:, :prompt]], axis=1)
    hidden, cache = run(filled, cache)
    found = [hidden[:, padding:]]
    for place in range(prompt, SMALL.length):
        hidden, cache = run(read[:, place : place + 1], cache)
        found.append(hidden)
    logits = module.apply(variables, jnp.concatenate(found, axis=1), method="logits")
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def test_the_published_one_has_twelve_billion_parameters():
    config = DALLEConfig(scan_layers=True)
    shapes = jax.eval_shape(DALLE(config).init, jax.random.key(0), jnp.zeros((1, 8), jnp.int32))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameter_count(config)
    assert parameter_count(config) == pytest.approx(12e9, rel=0.03)
    layers = config.layer_patterns()
    assert [layers.count(name) for name in ("row", "column", "conv", "full")] == [47, 16, 1, 0]
    assert [i for i, name in enumerate(layers) if name == "column"] == list(range(1, 63, 4))
    assert max(keys_seen(config)) < 0.4 * (config.length + 1) / 2 + config.text_length


def test_what_cannot_be():
    with pytest.raises(ConfigError, match="model.kernel is 4; it must be odd"):
        DALLEConfig(kernel=4)
    with pytest.raises(ConfigError, match="model.patterns has 'rows'; known: full, row, column, conv"):
        DALLEConfig(patterns=("rows",))
