"""What is known of the files of a folder or of archives.

A metadata.jsonl has an object on each line, whose `file_name` is relative to the folder that it lies in; every folder may have
its own. Where there is none, what lies beside a file under its name with another ending says it, as in WebDataset's shards: .txt
a text, .json an object.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from genjax.data.sources.trees import Tree
from genjax.errors import DataError

METADATA = "metadata.jsonl"
BESIDE = (".txt", ".json")
LARGEST_METADATA = 1 << 30


@dataclass(frozen=True)
class Line:
    """What one line says of a file.

    Attributes:
        where: names the line in messages.
        folder: that the metadata lies in, within its place.
        name: of the file, relative to that folder; `path` is relative to the place.
        values: all that the line says.
    """

    where: str
    folder: str
    name: str
    values: Mapping[str, Any]

    @property
    def path(self) -> str:
        return str(PurePosixPath(self.folder) / self.name)


def metadata_of(path: str) -> Tree:
    """The metadata files of a place."""
    return Tree(path, lambda name: PurePosixPath(name).name == METADATA)


def read_metadata(tree: Tree, optional: bool = False) -> Iterator[Line]:
    """Every line, in the order of the files. Raises DataError: no line at all, unless that may be, or one that is none."""
    count = 0
    for path, content in tree.read(LARGEST_METADATA):
        folder = str(PurePosixPath(path).parent)
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if line.strip():
                count += 1
                yield _parsed(line, f"{tree.title}: {path}, line {number}", folder)
    if not count and not optional:
        raise DataError(f"{tree.title} holds no {METADATA}, which would say what its images are; check data.path.")


def texts_beside(path: str) -> Tree:
    """The files that say what those beside them are."""
    return Tree(path, lambda name: PurePosixPath(name).suffix.lower() in BESIDE)


def read_beside(tree: Tree, names: Sequence[str], text_field: str) -> Iterator[Line]:
    """A line for each of the named files that something lies beside; the content of a .txt is its `text_field`.

    Raises:
        DataError: a .json that is no object, or nothing beside any of them.
    """
    found: dict[str, dict[str, Any]] = {}
    for path, content in tree.read(LARGEST_METADATA):
        text, own = content.decode("utf-8", "replace").strip(), found.setdefault(_key(path), {})
        if path.lower().endswith(".txt"):
            own[text_field] = text
            continue
        try:
            own.update(json.loads(text))
        except (ValueError, TypeError) as error:
            raise DataError(f"{tree.title}: {path} is no object in JSON: {error}.") from error
    named = [name for name in names if _key(name) in found]
    if not named:
        raise DataError(
            f"{tree.title} holds no {METADATA}, which would say what its images are, and no .txt or .json beside them; check "
            "data.path."
        )
    for name in named:
        path = PurePosixPath(name)
        yield Line(f"{tree.title}: what lies beside {name}", str(path.parent), path.name, found[_key(name)])


def _key(path: str) -> str:
    """What a file and those beside it share: WebDataset's key, up to the first dot of the name."""
    pure = PurePosixPath(path)
    return str(pure.parent / pure.name.partition(".")[0])


def _parsed(line: str, where: str, folder: str) -> Line:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error}.") from error
    name = values.get("file_name") if isinstance(values, dict) else None
    if not isinstance(name, str):
        raise DataError(f"{where} names no file: it must be an object with 'file_name'.")
    return Line(where, folder, name, values)
