"""Text from a step function: greedy, sampling and beam search, their knobs, batches and stopping."""

from genjax.decoding.batches import Generation, collect, make_batches
from genjax.decoding.generation import ChunkedDecoder, generate
from genjax.decoding.settings import Settings, check

__all__ = ["ChunkedDecoder", "Generation", "Settings", "check", "collect", "generate", "make_batches"]
