"""The choice of documents: one pass over a source that decides what is kept, why the rest is not, and what belongs together."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from genjax.data.code.config import DuplicatesConfig
from genjax.data.code.duplicates import Clusters, NearDuplicates, exact_key
from genjax.data.code.filters import CodeFilters
from genjax.data.sources.document import Document

EXACT, NEAR, HELD_OUT = "exact duplicates", "near duplicates", "like held-out ones"


@dataclass(frozen=True, eq=False)
class Census:
    """What was decided of every document, in the source's order.

    Attributes:
        groups: None for a document that is left out; else its group, "" for none.
        repositories: the repository of each, "" for those that are left out.
        left_out: how many were left out for each reason.
    """

    groups: list[str | None]
    repositories: list[str]
    left_out: Counter[str]

    @property
    def kept(self) -> int:
        return len(self.groups) - self.left_out.total()

    def __str__(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.most_common())
        return f"{self.left_out.total():,} of {len(self.groups):,} documents left out" + (f" ({reasons})" if reasons else "")


def take_census(
    documents: Iterable[Document],
    held_out: Iterable[Document],
    filters: CodeFilters,
    duplicates: DuplicatesConfig,
    group_by_repository: bool,
) -> Census:
    """Decides of each of `documents`.

    The first of exact duplicates is kept, and the first of each cluster of near ones, which is a connected component: where a
    resembles b and b resembles c, all three are one cluster. So no two documents that resemble each other are kept, or, where
    near duplicates are kept together, none is in another group.

    Args:
        held_out: documents of another place; what is in a cluster with one of them is left out.
    """
    near = NearDuplicates(duplicates) if duplicates.near != "ignore" else None
    clusters = Clusters()
    first: dict[bytes, int] = {}  # number of the first document of each content

    def enter(document: Document, key: bytes) -> int:
        number = clusters.add()
        first.setdefault(key, number)
        for other in near.add(document.text).tolist() if near else ():
            clusters.join(other, number)
        return number

    for document in held_out:
        enter(document, exact_key(document.text))
    others = len(clusters)

    reasons: list[str | None] = []
    candidates: list[tuple[int, int, str, str]] = []  # place, number, repository, name of the content
    for place, document in enumerate(documents):
        reason, key = filters.reason(document), exact_key(document.text)
        if reason is None and duplicates.exact and key in first:
            reason = HELD_OUT if first[key] < others else EXACT
        if reason is None:
            candidates.append((place, enter(document, key), document.repository, key.hex()))
        reasons.append(reason)
    for place, number, *_ in candidates:
        if clusters.root(number) < others:
            reasons[place] = HELD_OUT
        elif duplicates.near == "remove" and clusters.root(number) != number:
            reasons[place] = NEAR

    kept = [candidate for candidate in candidates if reasons[candidate[0]] is None]
    repositories = [""] * len(reasons)
    members: dict[str, list[int]] = defaultdict(list)
    for place, number, repository, _ in kept:
        repositories[place] = repository
        members[repository].append(number)
    if group_by_repository:
        for numbers in (numbers for repository, numbers in members.items() if repository):
            for number in numbers[1:]:
                clusters.join(numbers[0], number)
    groups: list[str | None] = [None] * len(reasons)
    together = defaultdict(list)
    for place, number, repository, content in kept:
        together[clusters.root(number)].append((place, (group_by_repository and repository) or content))
    for cluster in together.values():
        alone = len(cluster) == 1 and not (group_by_repository and repositories[cluster[0][0]])
        for place, _ in cluster:
            groups[place] = "" if alone else min(name for _, name in cluster)
    return Census(groups, repositories, Counter(reason for reason in reasons if reason))
