"""Text from a step function: greedy, sampling and beam search, their knobs, batches and stopping."""

from genjax.decoding.batches import Generation, collect, make_batches
from genjax.decoding.generation import ChunkedDecoder, begin, generate
from genjax.decoding.search import DecodeState, advance
from genjax.decoding.settings import Settings, check

__all__ = [
    "ChunkedDecoder",
    "DecodeState",
    "Generation",
    "Settings",
    "advance",
    "begin",
    "check",
    "collect",
    "generate",
    "make_batches",
]
