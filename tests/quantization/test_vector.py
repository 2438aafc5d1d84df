"""Vector and residual quantization against formulas in float64, on one device and on eight."""

import jax
import numpy as np
import pytest

from genjax.errors import ConfigError
from genjax.quantization.quantized import CODEBOOK, code_counts, perplexity
from genjax.quantization.residual import ResidualConfig, ResidualQuantizer
from genjax.quantization.vector import VectorConfig, VectorQuantizer

CODES, WIDTH = 11, 3
X = np.random.default_rng(0).standard_normal((4, 5, 6, WIDTH)).astype(np.float32)


def spread(config, seed=1):
    """A codebook that has seen something."""
    generator = np.random.default_rng(seed)
    table = generator.standard_normal((config.codes, config.width)).astype(np.float32)
    counts = generator.uniform(0.5, 5, config.codes).astype(np.float32)
    return {"embedding": table, "counts": counts, "sums": table * counts[:, None]}


def nearest(x, table):
    distances = ((x[..., None, :].astype(np.float64) - table.astype(np.float64)) ** 2).sum(-1)
    return distances.argmin(-1)


def moved(config, x, state, decay):
    """van den Oord et al., 2017, equations 6 to 8 of appendix A.1, with the counts smoothed as in Sonnet."""
    table, counts, sums = (state[name].astype(np.float64) for name in ("embedding", "counts", "sums"))
    codes = nearest(x, table).reshape(-1)
    one_hot = np.eye(config.codes)[codes]
    counts = decay * counts + (1 - decay) * one_hot.sum(0)
    sums = decay * sums + (1 - decay) * one_hot.T @ x.reshape(-1, config.width).astype(np.float64)
    total = counts.sum()
    smoothed = (counts + config.epsilon) / (total + config.codes * config.epsilon) * total
    return counts, sums, sums / smoothed[:, None]


def test_the_nearest_code_and_its_vector():
    config = VectorConfig(CODES, WIDTH)
    state = spread(config)
    found = VectorQuantizer(config).apply({CODEBOOK: state}, X)
    codes = nearest(X, state["embedding"])
    np.testing.assert_array_equal(found.codes, codes)
    np.testing.assert_allclose(found.values, state["embedding"][codes], atol=1e-6)
    np.testing.assert_allclose(found.losses["commitment"], ((X - state["embedding"][codes]) ** 2).mean(), rtol=1e-6)
    again = VectorQuantizer(config).apply({CODEBOOK: state}, found.codes, method="lookup")
    np.testing.assert_array_equal(again, state["embedding"][codes])


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_codebook_moves_to_the_means(decay):
    config = VectorConfig(CODES, WIDTH, decay=decay)
    state = spread(config)
    _, changed = VectorQuantizer(config).apply({CODEBOOK: state}, X, train=True, mutable=[CODEBOOK])
    for found, expected in zip(
        (changed[CODEBOOK][n] for n in ("counts", "sums", "embedding")), moved(config, X, state, decay), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)
    kept = VectorQuantizer(config).apply({CODEBOOK: state}, X, train=False, mutable=[CODEBOOK])[1]
    jax.tree.map(np.testing.assert_array_equal, kept[CODEBOOK], state)


def test_codes_that_nothing_is_near_to_begin_again():
    config = VectorConfig(CODES, WIDTH, decay=0.5, restart=0.3)
    state = spread(config)
    state["embedding"][3:6] += 100.0  # which no feature is near
    state["counts"][3:6] = 0.1
    _, changed = VectorQuantizer(config).apply(
        {CODEBOOK: state}, X, train=True, mutable=[CODEBOOK], rngs={"bottleneck": jax.random.key(0)}
    )
    found = changed[CODEBOOK]
    counts, _, table = moved(config, X, state, 0.5)
    dead = counts < 0.3 * counts.sum() / CODES
    assert dead[3:6].all() and not dead.all()
    np.testing.assert_allclose(found["embedding"][~dead], table[~dead], rtol=1e-4, atol=1e-5)
    rows = X.reshape(-1, WIDTH)
    for vector in found["embedding"][dead]:
        assert np.abs(rows - vector).max(1).min() < 1e-3, "a code that begins again is a feature of the batch"
    np.testing.assert_allclose(found["counts"][dead], 0.3 * counts.sum() / CODES, rtol=1e-5)


def test_the_first_batch_makes_a_codebook_that_restarts():
    module = VectorQuantizer(VectorConfig(CODES, WIDTH, restart=0.1))
    variables = module.init(jax.random.key(0), X)
    _, changed = module.apply(variables, X, train=True, mutable=[CODEBOOK], rngs={"bottleneck": jax.random.key(1)})
    codes = module.apply({CODEBOOK: changed[CODEBOOK]}, X).codes
    assert perplexity(code_counts(codes, CODES)) > 0.6 * CODES


def test_gradients_go_straight_through_and_to_each_loss():
    config = VectorConfig(CODES, WIDTH, "loss")
    table = spread(config)["embedding"]
    codes = nearest(X, table)
    weights = np.random.default_rng(2).standard_normal(X.shape).astype(np.float32)

    def run(x, table):
        return VectorQuantizer(config).apply({"params": {"embedding": table}}, x)

    to_x, to_table = jax.grad(lambda *a: (run(*a).values * weights).sum(), (0, 1))(X, table)
    np.testing.assert_array_equal(to_x, weights)
    np.testing.assert_array_equal(to_table, 0 * table)
    to_x, to_table = jax.grad(lambda *a: run(*a).losses["commitment"], (0, 1))(X, table)
    np.testing.assert_allclose(to_x, 2 * (X - table[codes]) / X.size, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(to_table, 0 * table)
    to_x, to_table = jax.grad(lambda *a: run(*a).losses["codebook"], (0, 1))(X, table)
    np.testing.assert_array_equal(to_x, 0 * X)
    expected = np.eye(CODES)[codes.reshape(-1)].T @ (2 * (table[codes] - X) / X.size).reshape(-1, WIDTH)
    np.testing.assert_allclose(to_table, expected, rtol=1e-4, atol=1e-8)


def test_cosine_codes_are_those_of_the_smallest_angle():
    config = VectorConfig(CODES, WIDTH, "loss", cosine=True)
    table = 5 * spread(config)["embedding"]
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    found = VectorQuantizer(config).apply({"params": {"embedding": table}}, X)
    codes = (unit(X) @ unit(table).T).argmax(-1)
    np.testing.assert_array_equal(found.codes, codes)
    np.testing.assert_allclose(found.values, unit(table)[codes], atol=1e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_residual_codes_add_up(shared):
    config = ResidualConfig(3, shared, VectorConfig(CODES, WIDTH, decay=0.9))
    states = [spread(config.codebook, 1 if shared else seed) for seed in (1, 2, 3)]
    variables = {f"codebooks_{i}": state for i, state in enumerate(states[:1] if shared else states)}
    rest, codes, commitment = X.astype(np.float64), [], 0.0
    for state in states:
        codes.append(nearest(rest, state["embedding"]))
        rest = rest - state["embedding"][codes[-1]]
        commitment += (rest**2).mean()
    found = ResidualQuantizer(config).apply({CODEBOOK: variables}, X)
    np.testing.assert_array_equal(found.codes, np.stack(codes, -1))
    np.testing.assert_allclose(found.values, X - rest, atol=1e-5)
    np.testing.assert_allclose(found.losses["commitment"], commitment, rtol=1e-5)
    again = ResidualQuantizer(config).apply({CODEBOOK: variables}, found.codes, method="lookup")
    np.testing.assert_allclose(again, found.values, atol=1e-5)


def test_residual_codebooks_move_by_what_each_is_given():
    config = ResidualConfig(2, False, VectorConfig(CODES, WIDTH, decay=0.9))
    states = [spread(config.codebook, seed) for seed in (1, 2)]
    variables = {f"codebooks_{i}": state for i, state in enumerate(states)}
    _, changed = ResidualQuantizer(config).apply({CODEBOOK: variables}, X, train=True, mutable=[CODEBOOK])
    rest = X - states[0]["embedding"][nearest(X, states[0]["embedding"])]
    for number, x in enumerate((X, rest)):
        _, _, table = moved(config.codebook, x, states[number], 0.9)
        np.testing.assert_allclose(changed[CODEBOOK][f"codebooks_{number}"]["embedding"], table, rtol=1e-4, atol=1e-5)


def test_eight_devices_move_a_codebook_as_one():
    config = VectorConfig(CODES, WIDTH, decay=0.5, restart=0.3)
    state = spread(config)
    state["counts"][3:6], state["embedding"][3:6] = 0.1, 100.0
    x = np.random.default_rng(3).standard_normal((16, 5, WIDTH)).astype(np.float32)

    @jax.jit
    def step(x, state, key):
        rngs = {"bottleneck": key}
        return VectorQuantizer(config).apply({CODEBOOK: state}, x, train=True, mutable=[CODEBOOK], rngs=rngs)

    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    one = step(x, state, jax.random.key(4))
    eight = step(jax.device_put(x, place), state, jax.random.key(4))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, eight)
    assert len(eight[0].values.sharding.device_set) == 8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VectorConfig(codes=0), "bottleneck.codes is 0; it must be 1 or more"),
        (lambda: VectorConfig(decay=1.0), "bottleneck.decay is 1.0; it must be at least 0 and below 1"),
        (lambda: VectorConfig(learning="loss", restart=0.1), "bottleneck.restart goes by moving counts"),
        (lambda: ResidualConfig(codebook=VectorConfig(cosine=True)), "bottleneck.codebook.cosine"),
    ],
)
def test_what_cannot_be(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
