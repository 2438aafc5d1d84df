"""Reading a config.json: typed values, and one message that names every setting that cannot be honoured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genjax.errors import CheckpointError

# Their activation names and ours. The first name of each of ours is the one that is written.
ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


@dataclass(frozen=True)
class Settings:
    """A section of a config.json. A key that is absent or null has the default that transformers gives it.

    The readers note what they cannot use in `problems`; `check` raises one error for all of it.
    """

    values: Mapping[str, Any]
    where: str
    problems: list[str] = field(default_factory=list)

    def integer(self, key: str, default: int) -> int:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            return self._refuse(f"{key} is {value!r}, expected a positive whole number", default)
        return value

    def number(self, key: str, default: float) -> float:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self._refuse(f"{key} is {value!r}, expected a number", default)
        return float(value)

    def boolean(self, key: str, default: bool) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            return self._refuse(f"{key} is {value!r}, expected true or false", default)
        return value

    def section(self, key: str) -> Mapping[str, Any]:
        value = self._value(key, {})
        return value if isinstance(value, Mapping) else self._refuse(f"{key} is {value!r}, expected an object", {})

    def activation(self, key: str, default: str) -> str:
        value = self._value(key, default)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            return self._refuse(f"{key} is {value!r}; supported: {', '.join(ACTIVATIONS)}", ACTIVATIONS[default])
        return ACTIVATIONS[value]

    def require(self, key: str, *allowed: Any) -> None:
        """The setting must be absent, null or one of `allowed`."""
        value = self.values.get(key)
        if value is not None and value not in allowed:
            self._refuse(f"{key} is {value!r}; supported: {' or '.join(map(repr, allowed)) or 'not set'}", None)

    def problem(self, text: str) -> None:
        self.problems.append(text)

    def check(self) -> None:
        """Raises CheckpointError: every problem that was noted."""
        if self.problems:
            raise CheckpointError(f"{self.where} asks for what genjax cannot do: " + "; ".join(self.problems) + ".")

    def _value(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        return default if value is None else value

    def _refuse(self, text: str, default: Any) -> Any:
        self.problems.append(text)
        return default


def their_activation(ours: str) -> str:
    """The name under which transformers knows our activation."""
    return next(theirs for theirs, name in ACTIVATIONS.items() if name == ours)


def misfits(config: Any, required: Mapping[str, Sequence[Any]]) -> list[str]:
    """One phrase for each field of `config` that is not among the values that a family can express."""
    return [
        f"{name} is {getattr(config, name)!r} (needs {' or '.join(map(repr, allowed))})"
        for name, allowed in required.items()
        if getattr(config, name) not in allowed
    ]


def zero_if(value: int, default: int) -> int:
    """0, which stands for the default in our configs, where the value is the default."""
    return 0 if value == default else value
