"""Projection to styles, against the published procedure written in torch in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from genjax.adversarial import projection
from genjax.adversarial.projection import Procedure

RNG = np.random.default_rng(0)
IMAGES, LAYERS, WIDTH, PIXELS = 2, 3, 4, 64
STYLES = RNG.standard_normal((IMAGES, LAYERS, WIDTH))
NOISE = {"coarse": RNG.standard_normal((IMAGES, 4, 4)), "fine": RNG.standard_normal((IMAGES, 16, 16))}
MATRIX = RNG.standard_normal((LAYERS * WIDTH, PIXELS))
TARGET = RNG.standard_normal((IMAGES, PIXELS))
DEVIATION = 1.7


def float32(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def far(styles, noise, matrix=MATRIX, target=TARGET):
    """Squared differences of pixels, which styles make as a matrix says and the fine noise adds to."""
    seen = styles.reshape(len(styles), -1) @ matrix + 0.3 * noise["fine"][:, ::2, ::2].reshape(len(styles), -1)
    return ((seen - target) ** 2).sum(1)


def distance(styles, noise):
    return far(styles, noise, *float32((MATRIX, TARGET)))


def correlation_of(image):
    """Of one image of noise, in torch as the public code has it."""
    noise, total = image[None, None], 0.0
    while True:
        for axis in (2, 3):
            total = total + (noise * torch.roll(noise, 1, axis)).mean() ** 2
        if noise.shape[2] <= 8:
            return total
        noise = torch.nn.functional.avg_pool2d(noise, 2)


def test_correlation_and_standardizing():
    noise = {name: RNG.standard_normal((3, side, side)) + 0.2 for name, side in (("a", 4), ("b", 8), ("c", 32))}
    expected = [sum(correlation_of(torch.from_numpy(image[row])) for image in noise.values()) for row in range(3)]
    np.testing.assert_allclose(projection.correlation(float32(noise)), expected, rtol=1e-4)
    for image in projection.standardized(float32(noise)).values():
        np.testing.assert_allclose(image.mean((1, 2)), 0, atol=1e-6)
        np.testing.assert_allclose(jnp.square(image).mean((1, 2)), 1, rtol=1e-5)


def test_schedules():
    steps = np.arange(1000)
    done = steps / 1000
    fall = 0.5 - 0.5 * np.cos(np.minimum(1, (1 - done) / 0.25) * np.pi)
    rates = jax.vmap(lambda step: projection.learning_rate(Procedure(), step))(steps)
    np.testing.assert_allclose(rates, 0.1 * fall * np.minimum(1, done / 0.05), rtol=1e-4, atol=1e-7)
    found = jax.vmap(lambda step: projection.exploration(Procedure(), step))(steps)
    np.testing.assert_allclose(found, 0.05 * np.maximum(0, 1 - done / 0.75) ** 2, rtol=1e-4, atol=1e-7)


def test_spread():
    samples = RNG.standard_normal((50, 3)) * [1, 2, 3] + 5
    mean, deviation = projection.spread(jnp.asarray(samples))
    np.testing.assert_allclose(mean, samples.mean(0), rtol=1e-5)
    np.testing.assert_allclose(deviation, np.sqrt(((samples - samples.mean(0)) ** 2).sum() / 50), rtol=1e-5)


def published(row, tied, procedure, steps, drawn):
    """Styles and noise of one image after so many steps of the public code."""
    first = STYLES[row, :1] if tied else STYLES[row]
    styles = torch.from_numpy(first.copy()).requires_grad_()
    noise = {name: torch.from_numpy(image[row].copy()).requires_grad_() for name, image in NOISE.items()}
    optimizer = torch.optim.Adam([styles, *noise.values()], betas=(0.9, 0.999))
    for step in range(steps):
        t = step / procedure.steps
        scale = DEVIATION * procedure.exploration * max(0.0, 1 - t / procedure.exploring) ** 2
        ramp = 0.5 - 0.5 * np.cos(min(1.0, (1 - t) / procedure.rampdown) * np.pi)
        for group in optimizer.param_groups:
            group["lr"] = procedure.rate * ramp * min(1.0, t / procedure.rampup)
        explored = (styles + torch.from_numpy(drawn[step][row, : len(first)]) * scale).expand(LAYERS, WIDTH)
        batched = {name: image[None] for name, image in noise.items()}
        near = far(explored[None], batched, torch.from_numpy(MATRIX), torch.from_numpy(TARGET[row : row + 1]))
        loss = near.sum() + procedure.decorrelation * sum(correlation_of(image) for image in noise.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for image in noise.values():
                image -= image.mean()
                image *= image.square().mean().rsqrt()
    return np.broadcast_to(styles.detach(), (LAYERS, WIDTH)), {name: image.detach() for name, image in noise.items()}


@pytest.mark.parametrize("tied", [True, False], ids=["w", "w+"])
def test_steps_are_those_of_the_public_code(tied):
    """In float32 Adam's division leaves 1e-4 of rate-sized steps; each image is by itself, as one alone is in torch."""
    procedure, steps = Procedure(steps=12, decorrelation=30.0, tied=tied), 10
    keys = jax.random.split(jax.random.key(5), IMAGES)
    draw = jax.vmap(lambda key, step: jax.random.normal(jax.random.fold_in(key, step), (LAYERS, WIDTH)), (0, None))
    drawn = [np.asarray(draw(keys, step), np.float64) for step in range(steps)]
    first = np.broadcast_to(STYLES[:, :1], STYLES.shape) if tied else STYLES
    state = projection.start(*float32((first, NOISE)))
    step = jax.jit(lambda state: projection.advance(distance, state, procedure, jnp.float32(DEVIATION), keys))
    for _ in range(steps):
        state = step(state)
    assert int(state.step) == steps and np.abs(np.asarray(state.styles) - first).max() > 0.3
    for row in range(IMAGES):
        styles, noise = published(row, tied, procedure, steps, drawn)
        np.testing.assert_allclose(state.styles[row], styles, atol=2e-4)
        for name, image in noise.items():
            np.testing.assert_allclose(state.noise[name][row], image, atol=1e-3)
