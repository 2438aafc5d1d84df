"""Calls and plain data between two processes that do not trust each other.

Numbers, strings, containers and a few values of the standard library travel as copies; anything else stays where it is, and the
other side holds a `Remote` of it, by number. A `Remote` answers questions (call, attribute, item, length, truth, ...), none of
which hands over the value that a test compares it with: comparing one with plain data is False.
"""

import json
import operator
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from . import forms

LONGEST_MESSAGE = 64 << 20  # bytes
EXCEPTIONS = {name: kind for name, kind in forms.TYPES.items() if issubclass(kind, BaseException)}
# What may be asked of an object that stayed on the other side.
OPERATIONS: dict[str, Callable] = {
    "call": lambda function, arguments, named: function(*arguments, **named),
    "attribute": getattr,
    "set_attribute": setattr,
    "equal": operator.eq,
    "truth": bool,
    "length": len,
    "item": operator.getitem,
    "iterator": iter,
    "next": next,
    "text": str,
    "is_instance": lambda kind, value: isinstance(value, kind),
}


class _Raised:
    """What the other side's answer raised."""

    def __init__(self, error: BaseException):
        self.error = error


class Peer:
    """One end of a pair of pipes. Requests may be nested: while one waits for its answer, it answers the other side's."""

    def __init__(self, reading: int, writing: int, operations: Mapping[str, Callable], lost: Callable[[str], NoReturn]):
        """`operations`: what the other side may ask of this one. `lost`: called, with the reason, when it cannot go on; ends the
        process, since an exception could be caught by a test."""
        self._reading, self._writing, self._operations, self._lost = reading, writing, operations, lost
        self._objects: list[Any] = []  # what the other side may hold
        self._numbers: dict[int, int] = {}
        self._remotes: dict[int, Remote] = {}  # one for each object of the other side, so that `is` means what it says

    def request(self, operation: str, *operands: Any) -> Any:
        """The other side's answer; what it raised is raised here, as the nearest built-in exception."""
        self.send(["do", operation, [self.encode(operand) for operand in operands]])
        while (message := self.receive())[0] == "do":
            self._answer(message)
        try:
            result = self._result(message, operation, operands)
        except Exception as error:
            self._lost(f"the program sent what cannot be read ({error!r})")
        if isinstance(result, _Raised):
            raise result.error
        return result

    def serve(self) -> NoReturn:
        """Answers until the other side goes."""
        while True:
            self._answer(self.receive())

    def send(self, message: Any) -> None:
        content = json.dumps(message).encode()
        content = len(content).to_bytes(4, "big") + content
        try:
            while content:
                content = content[os.write(self._writing, content) :]
        except OSError as error:
            self._lost(str(error))

    def receive(self) -> list:
        length = int.from_bytes(self._read(4), "big")
        if length > LONGEST_MESSAGE:
            self._lost(f"the program sent {length} bytes at once")
        try:
            message = json.loads(self._read(length))
        except (ValueError, RecursionError, MemoryError) as error:
            self._lost(f"the program sent what cannot be read ({error!r})")
        if not isinstance(message, list) or not message:
            self._lost("the program sent what cannot be read")
        return message

    def encode(self, value: Any) -> Any:
        """The value, or a number that stands for it here, in terms of JSON."""
        return forms.encode(value, self._stand_for)

    def decode(self, form: Any) -> Any:
        return forms.decode(form, self._find)

    def _stand_for(self, value: Any) -> dict[str, int]:
        if type(value) is Remote:
            return {"yours": value._number}
        number = self._numbers.setdefault(id(value), len(self._objects))
        if number == len(self._objects):
            self._objects.append(value)
        return {"mine": number}

    def _find(self, whose: str, number: Any) -> Any:
        if type(number) is not int or number < 0:
            raise forms.FormError(f"an object of number {number!r}")
        if whose == "mine":
            return self._remotes.setdefault(number, Remote(self, number))
        return self._objects[number]

    def _answer(self, message: list) -> None:
        try:
            _, operation, operands = message
            if operation == "call":
                reply = self._call(operands)
            else:
                reply = ["value", self.encode(self._operations[operation](*self.decode(operands))), []]
        except BaseException as error:  # the program's own exceptions, SystemExit among them
            reply = ["error", *self._describe(error)]
        self.send(reply)

    def _call(self, operands: list) -> list:
        """Calls what the other side holds. Lists, dicts and sets that the call changed go back with the result."""
        target, given, named = operands
        function, arguments = self._find("yours", target["yours"]), [self.decode(form) for form in given]
        before = [json.dumps(form) for form in given]
        value = self._operations["call"](function, arguments, self.decode(named))
        changed = []
        for position, (argument, form) in enumerate(zip(arguments, before, strict=True)):
            if type(argument) in (list, dict, set, bytearray) and json.dumps(after := self.encode(argument)) != form:
                changed.append([position, after])
        return ["value", self.encode(value), changed]

    def _result(self, message: list, operation: str, operands: tuple) -> Any:
        kind, *rest = message
        if kind == "error":
            error = self._exception(*rest)
            if isinstance(error, StopIteration) and operation != "next":
                error = RuntimeError("StopIteration")  # all(map(...)) would take it for the end of its items, and be content
            return _Raised(error)
        if kind != "value":
            raise forms.FormError(f"a message of the unknown kind {kind!r}")
        form, changed = rest
        for position, after in changed:
            _refill(operands[1][position], self.decode(after))
        return self.decode(form)

    def _describe(self, error: BaseException) -> tuple[list[str], Any, str]:
        names = [kind.__name__ for kind in type(error).__mro__ if EXCEPTIONS.get(kind.__name__) is kind]
        try:
            text = str(error)[:1000]
        except BaseException:  # a __str__ of the program's
            text = ""
        try:
            arguments = self.encode(tuple(error.args))
        except BaseException:
            arguments = self.encode((text,))
        return names, arguments, text

    def _exception(self, names: list, arguments: Any, text: Any) -> BaseException:
        for kind in [EXCEPTIONS[name] for name in names]:
            for parts in (self.decode(arguments), (str(text),)):
                try:
                    return kind(*parts)
                except Exception:  # this kind wants other arguments
                    continue
        return Exception(str(text))

    def _read(self, length: int) -> bytes:
        parts = []
        while length:
            part = os.read(self._reading, min(length, 1 << 20))
            if not part:
                self._lost("the program ended itself")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)


class Remote:
    """An object of the other process."""

    __slots__ = ("_peer", "_number")

    def __init__(self, peer: Peer, number: int):
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._peer.request("call", self, list(arguments), named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__doc__"):
            raise AttributeError(name)  # what Python looks for on its own
        return self._peer.request("attribute", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._peer.request("set_attribute", self, name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and self._peer.request("equal", self, other) is True

    def __hash__(self) -> int:
        return hash(self._number)

    def __bool__(self) -> bool:
        return self._peer.request("truth", self) is True

    def __len__(self) -> int:
        return self._peer.request("length", self)

    def __getitem__(self, key: Any) -> Any:
        return self._peer.request("item", self, key)

    def __iter__(self) -> Iterator:
        iterator = self._peer.request("iterator", self)
        return iterator if isinstance(iterator, Remote) else iter(iterator)

    def __next__(self) -> Any:
        return self._peer.request("next", self)

    def __str__(self) -> str:
        return self._peer.request("text", self)

    __repr__ = __str__

    def __instancecheck__(self, value: Any) -> bool:
        return self._peer.request("is_instance", self, value) is True


def _refill(container: Any, content: Any) -> None:
    """Gives a container of the caller's the content that it has after the call."""
    if type(container) is not type(content):
        raise forms.FormError("an argument that changed its type")
    if isinstance(container, (list, bytearray)):
        container[:] = content
    else:
        container.clear()
        container.update(content)
