"""Images of datasets that TensorFlow Datasets prepared as ArrayRecord files, read without TensorFlow and still encoded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from genjax.data.hashing import digest
from genjax.data.sources.tfds import Prepared, examples
from genjax.errors import DataError


@dataclass(frozen=True)
class TensorFlowImages(Prepared):
    """Images in the order of the files, named by their numbers.

    Attributes:
        image_field: the feature that holds the image.
        label_field: the feature that holds its class, a ClassLabel, a whole number or a text; "": not read.
    """

    image_field: str = "image"
    label_field: str = "label"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that a ClassLabel has, by number; of another label ()."""
        return tuple(getattr(self.builder.info.features[self.label_field], "names", None) or ())

    @cached_property
    def _encoded(self) -> Any:
        """Examples whose image is as the file has it."""
        import tensorflow_datasets as tfds

        features = self.builder.info.features
        for key, name in (("image_field", self.image_field), ("label_field", self.label_field)):
            if name and name not in features:
                raise DataError(f"{self.title} has no feature {name!r}; it has {', '.join(sorted(features))}. Set data.{key}.")
        image = features[self.image_field]
        if not isinstance(image, tfds.features.Image):
            raise DataError(f"the feature {self.image_field!r} of {self.title} holds no images; set data.image_field to another.")
        if np.issubdtype(image.np_dtype, np.floating):
            raise DataError(f"the images of {self.title} are of floating-point numbers, whose range is not known.")
        label = features[self.label_field] if self.label_field else None
        texts = isinstance(label, tfds.features.Text)
        if label is not None and not texts and not (label.shape == () and np.issubdtype(label.np_dtype, np.integer)):
            where = f"the feature {self.label_field!r} of {self.title}"
            raise DataError(f"{where} holds no texts and no whole numbers; set data.label_field to another.")
        return self.source({self.image_field: tfds.decode.SkipDecoding()})

    @cached_property
    def fingerprint(self) -> str:
        """Of the images; labels are told apart by whoever reads them."""
        return digest(
            "tfds images", self.builder.info.full_name, self.split, self.image_field, self.sizes, str(len(self._encoded))
        )

    def read(self, limit: int) -> Iterator[tuple[str, bytes]]:
        """(name, encoded image) of every example; of a larger image `limit` bytes and one more are given."""
        for number, record in examples(self._encoded):
            yield str(number), record[self.image_field][: limit + 1]

    def labels(self) -> dict[str, str | int]:
        """The class of every image by the image's name."""
        found = ((str(number), record[self.label_field]) for number, record in examples(self._encoded))
        return {name: label.decode("utf-8", "replace") if isinstance(label, bytes) else int(label) for name, label in found}

    def values(self, fields: Mapping[str, str]) -> tuple[list[str], list[dict[str, Any]]]:
        """Names of the images, and what each example says in these fields: texts, or lists of them, by the fields' names.

        Args:
            fields: config key -> field; "captions/text" is the feature "text" of each of "captions".

        Raises:
            DataError: there is no such feature.
        """
        names, found = [], []
        for number, record in examples(self._encoded):
            names.append(str(number))
            found.append({field: _texts(self._value(record, key, field)) for key, field in fields.items()})
        return names, found

    def _value(self, record: Mapping[str, Any], key: str, field: str) -> Any:
        value: Any = record
        for part in field.split("/"):
            if not (isinstance(value, Mapping) and part in value):
                known = ", ".join(sorted(self.builder.info.features))
                raise DataError(f"{self.title} has no feature {field!r}; it has {known}. Set data.{key}.")
            value = value[part]
        return value


def _texts(value: Any) -> Any:
    """Bytes as texts, of arrays as well; what is neither stays what it is."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return [_texts(one) for one in value] if isinstance(value, np.ndarray | list | tuple) else value
