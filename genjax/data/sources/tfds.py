"""Datasets prepared by TensorFlow Datasets as ArrayRecord files, read without TensorFlow."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from genjax.data.hashing import digest
from genjax.data.sources.document import NO_FIELDS, CodeEncodingErrors, Document, Fields, field_value
from genjax.data.sources.files import decode_text
from genjax.errors import DataError

READ_AHEAD = 256  # examples read together


@dataclass(frozen=True)
class Prepared:
    """A split of a prepared dataset.

    Attributes:
        name: "lm1b", "wiki40b/en", "my_dataset:1.0.0"; it must be prepared, in the array_record format.
        split: "train", or a slice such as "train[:50%]".
        data_dir: where prepared datasets lie; "" is TFDS' default (~/tensorflow_datasets).
    """

    name: str
    split: str
    data_dir: str = ""

    @property
    def title(self) -> str:
        return f"{self.name}[{self.split}]"

    @cached_property
    def builder(self) -> Any:
        import tensorflow_datasets as tfds  # a third of a second, and only this source needs it

        data_dir = os.path.expanduser(os.path.expandvars(self.data_dir))
        try:
            builder = tfds.builder(self.name, **({"data_dir": data_dir} if data_dir else {}))
        except (tfds.core.DatasetNotFoundError, ValueError) as error:
            raise DataError(f"TFDS knows no dataset {self.name!r} in {self._where}: {_first_line(error)}") from error
        prepare = f"tfds build {self.name} --file_format=array_record" + (f" --data_dir={self.data_dir}" if self.data_dir else "")
        if not builder.info.splits:
            raise DataError(f"the dataset {self.name!r} is not prepared in {self._where}; prepare it with `{prepare}`.")
        if builder.info.file_format.value != "array_record":
            raise DataError(
                f"the dataset {self.name!r} in {self._where} was prepared as {builder.info.file_format.value}, which needs "
                f"TensorFlow to be read; prepare it again with `{prepare}`."
            )
        return builder

    @property
    def _where(self) -> str:
        return self.data_dir or "TFDS' default data_dir"

    def source(self, decoders: Any = None) -> Any:
        """A sized sequence of examples, each a mapping of features; `decoders` as TFDS has them."""
        try:
            return self.builder.as_data_source(split=self.split, decoders=decoders)
        except (ValueError, KeyError) as error:
            known = ", ".join(self.builder.info.splits)
            raise DataError(
                f"the dataset {self.name!r} has no split {self.split!r}, or nothing in it; it has {known}."
            ) from error

    @property
    def sizes(self) -> str:
        """Of every split's files, for a fingerprint."""
        return repr({name: (split.shard_lengths, split.num_bytes) for name, split in sorted(self.builder.info.splits.items())})


@dataclass(frozen=True)
class TensorFlowDataset(Prepared):
    """Texts in the order of the files.

    Attributes:
        text_field: the feature that holds the text.
        fields: those that say more of it.
    """

    text_field: str = "text"
    encoding_errors: CodeEncodingErrors = "raise"
    fields: Fields = NO_FIELDS

    @cached_property
    def records(self) -> Any:
        return self.source()

    @cached_property
    def fingerprint(self) -> str:
        settings = (self.split, self.text_field, self.encoding_errors)
        parts = ["tfds", self.builder.info.full_name, *settings, self.sizes, str(len(self.records))]
        return digest(*parts, *([repr(self.fields)] if self.fields != NO_FIELDS else []))

    def __iter__(self) -> Iterator[Document]:
        documents = 0
        for number, record in examples(self.records):
            text = self._text(record, f"{self.title}, example {number}")
            if text:
                documents += 1
                yield self.fields.document(record, f"{self.title}, example {number}", text)
        if not documents:
            raise DataError(f"{self.title} holds no example with text in {self.text_field!r}; there is nothing to train on.")

    def _text(self, record: Mapping[str, Any], name: str) -> str:
        value = field_value(record, self.text_field, name)
        return decode_text(value, self.encoding_errors, name) if isinstance(value, bytes) else value


def examples(source: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(number, example) of all, read some at a time."""
    for first in range(0, len(source), READ_AHEAD):
        numbers = range(first, min(first + READ_AHEAD, len(source)))
        yield from zip(numbers, source.__getitems__(numbers), strict=True)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
