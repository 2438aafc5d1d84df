"""genjax: generative models in JAX and Flax, on one train loop and one sample loop."""

__version__ = "0.1.0"
