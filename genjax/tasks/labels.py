"""What rows are labelled with: one class, or a value for each of several attributes; as numbers, and as people write them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Int

from genjax.config import choose
from genjax.errors import ConfigError, RequestError

NONE = "none"


@dataclass(frozen=True)
class Labels:
    """Values of all attributes in one table, that of no label last.

    Attributes:
        attributes: each with its values, by name; () for none.
        has_none: whether rows may also bear no label.
    """

    attributes: tuple[tuple[str, tuple[str, ...]], ...]
    has_none: bool = False

    def __bool__(self) -> bool:
        return bool(self.attributes)

    @property
    def count(self) -> int:
        """Values of all attributes."""
        return sum(len(values) for _, values in self.attributes)

    @property
    def none(self) -> int:
        """The row of the table that stands for no label."""
        return self.count

    @property
    def _offsets(self) -> np.ndarray:
        return np.cumsum([0, *(len(values) for _, values in self.attributes[:-1])]).astype(np.int32)

    def classes(self, label: Int[Array, "batch *attributes"]) -> Int[Array, "batch attributes"]:
        """Rows of the table from each attribute's number among its own values."""
        return label.reshape(len(label), -1) + self._offsets

    def parse(self, written: Sequence[str], number: int) -> Int[np.ndarray, " attributes"]:
        """Rows of the table for what a person asks of sample `number`.

        Args:
            written: `value`, where there is one attribute, or `attribute=value`, also by the value's number; "none" for no
                label. What is not written is taken in turn, sample by sample.

        Raises:
            RequestError: an attribute or value that there is not (with the nearest), or labels of a model that knows none.
        """
        if not self:
            if written:
                raise RequestError(f"--label={written[0]}: this model was trained without labels; leave it out.")
            return np.zeros(0, np.int32)
        if NONE in written:
            if len(written) > 1 or not self.has_none:
                reason = "stands alone" if self.has_none else "needs a model with task.label_dropout above 0"
                raise RequestError(f"--label={NONE} {reason}.")
            return np.full(len(self.attributes), self.none, np.int32)
        chosen = self._in_turn(number)
        for text in written:
            attribute, value = self._place(text)
            chosen[attribute] = value
        return chosen + self._offsets

    def names(self, classes: Int[np.ndarray, " attributes"]) -> Mapping[str, str] | None:
        """What `parse` made, by attribute; None for no label."""
        if not self or classes[0] == self.none:
            return None
        pairs = zip(self.attributes, classes - self._offsets, strict=True)
        return {name: values[number] for (name, values), number in pairs}

    def _in_turn(self, number: int) -> np.ndarray:
        sizes = [len(values) for _, values in self.attributes]
        if len(sizes) == 1:
            return np.array([number % sizes[0]], np.int32)
        return np.random.default_rng(number).integers(sizes).astype(np.int32)

    def _place(self, text: str) -> tuple[int, int]:
        """(attribute, value) by number."""
        names = [name for name, _ in self.attributes]
        name, equals, value = text.partition("=")
        if not equals and len(names) == 1:
            name, value = names[0], text
        elif not equals:
            raise RequestError(f"--label={text}: write attribute=value; the attributes are {', '.join(names)}.")
        try:
            attribute = choose("--label:", name, {name: number for number, name in enumerate(names)})
            values = {value: number for number, value in enumerate(self.attributes[attribute][1])}
            if value not in values and value.isdecimal() and int(value) < len(values):
                return attribute, int(value)
            return attribute, choose(f"--label {name}:", value, values)
        except ConfigError as error:
            raise RequestError(str(error)) from error
