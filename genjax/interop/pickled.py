"""Values out of a pickle without running it.

A pickle is a program for a stack machine whose opcodes can import and call anything. Here the machine knows only the opcodes that
build plain values, and a call is a look-up in a table that the reader of a format brings along; no name is ever imported. What
is not in the table ends the reading.
"""

import pickletools
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from genjax.errors import CheckpointError

_VALUES = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE"})
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


def read_pickle(
    stream: BinaryIO, where: str, names: Mapping[str, Any] | None = None, persistent: Callable[[Any], Any] | None = None
) -> Any:
    """The value of the pickle (protocol 2) that begins at the stream's position; the stream then stands behind it.

    Args:
        stream: what to read from.
        where: the file, for messages.
        names: "module.name" -> what stands for it; where that is a function, the pickle may call it.
        persistent: what stands for an object that lies outside of the pickle, from what the pickle says of it.

    Raises:
        CheckpointError: the pickle is cut off or malformed, or asks for a name, a call or an opcode that plain values need not.
    """
    machine = _Machine(where, names or {}, persistent)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            machine.step(opcode.name, argument)
        (value,) = machine.stack
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, struct.error) as error:
        raise CheckpointError(
            f"{where} holds a pickle that is cut off or damaged ({error}); copy or download it again."
        ) from error
    return value


class _Machine:
    def __init__(self, where: str, names: Mapping[str, Any], persistent: Callable[[Any], Any] | None):
        self.where, self.names, self.persistent = where, names, persistent
        self.functions = {id(value) for value in names.values() if callable(value)}
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(self._to_mark()))
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name in ("APPEND", "APPENDS"):
            items = self._to_mark() if name == "APPENDS" else [stack.pop()]
            _of_type(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._to_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            # Only texts and numbers are keys: the hash of tuples within tuples can take forever.
            keys = [key if isinstance(key, str) else _of_type(key, int) for key in items[::2]]
            _of_type(stack[-1], dict).update(zip(keys, items[1::2], strict=True))
        elif name == "GLOBAL":
            stack.append(self._named(argument.replace(" ", ".")))
        elif name == "REDUCE":
            given, function = stack.pop(), stack.pop()
            if id(function) not in self.functions:
                raise CheckpointError(f"{self.where} calls a {type(function).__name__}; {_REFUSAL}")
            stack.append(function(*_of_type(given, tuple)))
        elif name == "BUILD":  # attributes of what was made, such as a state dict's `_metadata`; plain values have none
            stack.pop()
            _of_type(stack[-1], dict)
        elif name == "BINPERSID" and self.persistent is not None:
            stack.append(self.persistent(stack.pop()))
        elif name not in ("PROTO", "STOP"):
            raise CheckpointError(f"{self.where} holds a pickle with the opcode {name}; {_REFUSAL}")

    def _named(self, name: str) -> Any:
        if name not in self.names:
            raise CheckpointError(f"{self.where} holds a pickle that asks for {name[:200]!r}; {_REFUSAL}")
        return self.names[name]

    def _to_mark(self) -> list[Any]:
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is _MARK:
                items = self.stack[position + 1 :]
                del self.stack[position:]
                return items
        raise ValueError("items without a mark before them")


_REFUSAL = (
    "only names and tensors are read, because a pickle can run any code. Save the model's state_dict(), or convert the file to "
    "safetensors."
)


def _of_type(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value
