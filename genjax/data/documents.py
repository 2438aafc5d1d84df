"""The documents behind a dataset: what a run was trained on, or what it held out, read again from where they came from."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from genjax.config import choose, structure
from genjax.data.code.build import clean_sources
from genjax.data.code.config import CodeDataConfig
from genjax.data.line_pairs import LinePairsDataConfig, line_pair_sources
from genjax.data.pairs import PairsDataConfig, pair_sources
from genjax.data.sources.document import Document
from genjax.data.split import split
from genjax.data.text import text_sources
from genjax.data.text_config import TextDataConfig

Side = Literal["train", "evaluation"]
KINDS = {
    "text": (TextDataConfig, text_sources),
    "code": (CodeDataConfig, clean_sources),
    "pairs": (PairsDataConfig, pair_sources),
    "line_pairs": (LinePairsDataConfig, line_pair_sources),
}


def documents(config: Mapping[str, Any], side: Side) -> Iterator[Document]:
    """The documents of one side of the split, in the order of the source, without language tags.

    Args:
        config: the section `data` of a run.

    Raises:
        ConfigError: a section that cannot be used.
        DataError: data that is no longer there, or cannot be read.
    """
    kind, sources = choose("data.name", config.get("name", "text"), KINDS)
    settings = structure(kind, config, "config.data")
    source, held_out = sources(settings)
    if held_out is not None and side == "evaluation":
        yield from _untagged(held_out)
        return
    parts = split(source, 0.0 if held_out is not None else settings.evaluation_fraction)
    # A single document is cut where its tagged text was.
    for where, document in parts.sides(source if parts.cut >= 0 else _untagged(source)):
        if where == side:
            yield document


def _untagged(source: Any) -> Iterator[Document]:
    return source.documents() if hasattr(source, "documents") else iter(source)
