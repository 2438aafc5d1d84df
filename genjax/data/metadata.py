"""metadata.jsonl: what is known of the files of a folder or an archive, an object on each line.

`file_name` is relative to the folder that the metadata.jsonl lies in; every folder may have its own.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from genjax.data.sources.trees import Tree
from genjax.errors import DataError

METADATA = "metadata.jsonl"
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


def read_metadata(tree: Tree) -> Iterator[Line]:
    """Every line, in the order of the files. Raises DataError: no line at all, or one that is none."""
    count = 0
    for path, content in tree.read(LARGEST_METADATA):
        folder = str(PurePosixPath(path).parent)
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if line.strip():
                count += 1
                yield _parsed(line, f"{tree.title}: {path}, line {number}", folder)
    if not count:
        raise DataError(f"{tree.title} holds no {METADATA}, which would say what its images are; check data.path.")


def _parsed(line: str, where: str, folder: str) -> Line:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error}.") from error
    name = values.get("file_name") if isinstance(values, dict) else None
    if not isinstance(name, str):
        raise DataError(f"{where} names no file: it must be an object with 'file_name'.")
    return Line(where, folder, name, values)
