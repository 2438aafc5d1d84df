"""The recipe of the scaling study: `benchmarks/scaling.py` trains it in several sizes, see docs/scaling.md.

    python benchmarks/scaling.py

Hardware: two CPU cores, about half an hour for all sizes.
"""

from code_tiny import get_config as code_tiny
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = code_tiny()
    config.data.fim.rate = 0.0
    config.data.tokenizer.vocab_size = 1024
    config.data.sequence_length = 128
    config.data.batch_size = 32
    config.task.model.update(num_layers=2, embed_dim=64, num_heads=2, context_length=128, gated=False, activation="gelu_tanh")
    config.task.model.mlp_dim = 0  # four times the width, so that a block has 12 width² parameters
    config.train.update(steps=600, eval_every=60, eval_batches=40, sample_every=0, checkpoint_every=300)
    return config
