"""Python values in terms of JSON, and back, for two sides that do not trust each other: no form makes anything but plain data."""

import builtins
import importlib
import sys
from collections.abc import Callable
from typing import Any

EXACT = 1 << 53  # larger integers travel in hexadecimal, which has no limit on digits
SCALARS = {type(None), bool, int, float, str}
SEQUENCES = {kind.__name__: kind for kind in (tuple, set, frozenset)}
TYPES = {name: kind for name, kind in vars(builtins).items() if isinstance(kind, type)} | {"NoneType": type(None)}
# Values of the standard library: what makes each again. They are equal to others of their kind and, some of them, to numbers.
VALUES: dict[str, Callable[[Any], tuple]] = {
    "fractions.Fraction": lambda v: (v.numerator, v.denominator),
    "decimal.Decimal": lambda v: (str(v),),
    "datetime.date": lambda v: (v.year, v.month, v.day),
    "datetime.time": lambda v: (v.hour, v.minute, v.second, v.microsecond, v.tzinfo),
    "datetime.datetime": lambda v: (v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, v.tzinfo),
    "datetime.timezone": lambda v: (v.utcoffset(None),),
    "datetime.timedelta": lambda v: (v.days, v.seconds, v.microseconds),
    "collections.deque": lambda v: (list(v), v.maxlen),
    "collections.Counter": lambda v: (dict(v),),
    "collections.OrderedDict": lambda v: (list(v.items()),),
}
BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (  # what an instance of a subclass is a copy of
    (int, int.__index__),
    (float, float.__float__),
    (str, str.__str__),
    (bytes, lambda v: bytes.__getitem__(v, slice(None))),
    (tuple, lambda v: tuple(tuple.__iter__(v))),
    (list, lambda v: list(list.__iter__(v))),
    (dict, lambda v: dict(dict.items(v))),
    (set, lambda v: set(set.__iter__(v))),
    (frozenset, lambda v: frozenset(frozenset.__iter__(v))),
)


class FormError(Exception):
    """A form that no honest side would send."""


def encode(value: Any, stand_for: Callable[[Any], dict[str, int]]) -> Any:
    """The form of a value; `stand_for` gives that of an object which is no plain data."""
    kind = type(value)
    if value is None or kind in (bool, str, float):
        return value
    if kind is int:
        return value if -EXACT < value < EXACT else {"int": hex(value)}
    if kind is list:
        kinds = set(map(type, value))
        if kinds <= SCALARS and (int not in kinds or (kinds == {int} and -EXACT < min(value) and max(value) < EXACT)):
            return value  # long lists of numbers are common
        return [encode(item, stand_for) for item in value]
    if kind is dict:
        return {"dict": [[encode(key, stand_for), encode(item, stand_for)] for key, item in value.items()]}
    if SEQUENCES.get(kind.__name__) is kind:
        return {kind.__name__: [encode(item, stand_for) for item in value]}
    if kind in (bytes, bytearray):
        return {kind.__name__: value.hex()}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if kind is range:
        return {"range": [encode(number, stand_for) for number in (value.start, value.stop, value.step)]}
    if kind is type and TYPES.get(value.__name__) is value:
        return {"type": value.__name__}
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name in VALUES and getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind:
        return {name: [encode(part, stand_for) for part in VALUES[name](value)]}
    for base, plain in BASES:
        if issubclass(kind, base):
            return encode(plain(value), stand_for)
    if kind.__module__ == "numpy" and getattr(value, "shape", None) == ():
        return encode(value.item(), stand_for)
    return stand_for(value)


def decode(form: Any, find: Callable[[str, Any], Any]) -> Any:
    """The value of a form; `find` gives the object of a form that `stand_for` has made.

    Raises:
        Exception: a form that is none; of any type.
    """
    if isinstance(form, list):
        return form if set(map(type, form)) <= SCALARS else [decode(item, find) for item in form]
    if not isinstance(form, dict):
        return form
    ((tag, content),) = form.items()
    match tag:
        case "int":
            return int(content, 16)
        case "dict":
            return {decode(key, find): decode(item, find) for key, item in content}
        case "tuple" | "set" | "frozenset":
            return SEQUENCES[tag]([decode(item, find) for item in content])
        case "bytes" | "bytearray":
            return TYPES[tag].fromhex(content)
        case "complex" | "range":
            return TYPES[tag](*decode(content, find))
        case "type":
            return TYPES[content]
        case "mine" | "yours":
            return find(tag, content)
        case _ if tag in VALUES:
            module, _, kind = tag.rpartition(".")
            return getattr(importlib.import_module(module), kind)(*decode(content, find))
    raise FormError(f"a value of the unknown form {tag!r}")
