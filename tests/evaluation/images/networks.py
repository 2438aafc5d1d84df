"""Small networks of features with random weights, and pictures for them."""

import hashlib

import jax
import numpy as np

from genjax.evaluation.images.features import FeatureNetwork, Features
from genjax.interop import inception, lazy, names, safetensors_io
from genjax.models.inception import InceptionConfig

TINY = InceptionConfig(width=2, num_classes=10, image_size=75)


def tiny_weights(folder):
    """A file of random weights of `TINY` and its hash."""
    generator = np.random.default_rng(0)
    shapes = inception.variable_shapes(TINY)
    arrays = {}
    for path, shape in shapes.items():
        fan_in = np.prod(shape[:-1])
        if path.endswith("kernel"):
            arrays[path] = generator.normal(size=shape) * (3 / fan_in) ** 0.5  # at this size activations keep their order
        else:
            arrays[path] = 0.1 * generator.normal(size=shape) + path.endswith(("scale", "var"))
    held = {path: lazy.of_array(array.astype(np.float32)) for path, array in arrays.items()}
    safetensors_io.write(folder, names.to_theirs(inception.table(TINY), held, shapes))
    path = folder / "model.safetensors"
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def means(variables, images):
    """Features that can be foretold: the means of the channels, times what the variables say."""
    pool = images.astype("float32").mean((1, 2)) * variables["factor"]
    return Features(pool, 2 * pool, None)


def plain_network(**settings):
    return FeatureNetwork("means", 8, means, {"factor": jax.numpy.ones(())}, **settings)


def pictures(count, size=8, seed=0, brightness=128):
    """Smooth colors with some noise."""
    generator = np.random.default_rng(seed)
    color = generator.integers(brightness - 60, brightness + 60, (count, 1, 1, 3))
    return np.clip(color + generator.normal(size=(count, size, size, 3)) * 20, 0, 255).astype(np.uint8)
