"""Sources made of others: several one after the other, or some repositories of one."""

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from genjax.data.hashing import digest
from genjax.data.sources.document import Document, Source
from genjax.errors import DataError


@dataclass(frozen=True)
class Joined:
    """All documents of the first source, then those of the next."""

    sources: tuple[Source, ...]

    @property
    def title(self) -> str:
        return " and ".join(source.title for source in self.sources)

    @cached_property
    def fingerprint(self) -> str:
        return digest("joined", *(source.fingerprint for source in self.sources))

    def __iter__(self) -> Iterator[Document]:
        for source in self.sources:
            yield from source


@dataclass(frozen=True)
class Repositories:
    """The documents whose repository fits one of the patterns ("google-*"), or, with `inside` False, none of them."""

    source: Source
    patterns: tuple[str, ...]
    inside: bool = True

    @property
    def title(self) -> str:
        return f"{self.source.title} ({'' if self.inside else 'without '}{', '.join(self.patterns)})"

    @cached_property
    def fingerprint(self) -> str:
        return digest("repositories", str(self.inside), *self.patterns, self.source.fingerprint)

    def __iter__(self) -> Iterator[Document]:
        documents, others = 0, set()
        for document in self.source:
            fits = any(fnmatch.fnmatchcase(document.repository, pattern) for pattern in self.patterns)
            if fits == self.inside:
                documents += 1
                yield document
            else:
                others.add(document.repository)
        if not documents:
            which = "fits" if self.inside else "is left beside"
            there = ", ".join(sorted(others)[:20]) + (", ..." if len(others) > 20 else "")
            raise DataError(
                f"no repository of {self.source.title} {which} {', '.join(self.patterns)}; it has {there}. "
                "Set data.evaluation_repositories to some of these."
            )
