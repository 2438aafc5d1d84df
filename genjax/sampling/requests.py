"""From the command line and prompt files to a task's requests.

A task's request is a frozen dataclass; its fields are the options, their annotations the types, their metadata the help. A field
whose metadata says `from_file` holds the text of a file, which is named by its path.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genjax.config import structure, unknown_key_message
from genjax.errors import ConfigError, RequestError

SHORT = {"num": "num_samples"}
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


def parse_options(request_type: type, arguments: Sequence[str], others: Sequence[str] = ()) -> dict[str, Any]:
    """`--key value`, `--key=value` and, for yes-or-no keys, `--key` and `--no-key`, to values of the fields' types.

    A field that is a tuple takes the option several times. Hyphens may stand for underscores, `--num` for `--num_samples`.

    Args:
        request_type: the dataclass.
        arguments: what the program's own options left over.
        others: the program's own options (without dashes), for the nearest-name hint.

    Raises:
        RequestError: an option that is not known (the nearest one is named), one without a value, or a value of another type.
    """
    hints = typing.get_type_hints(request_type)
    known = {field.name: hints[field.name] for field in dataclasses.fields(request_type)}
    written = {field.name: _written_type(field, hints[field.name]) for field in dataclasses.fields(request_type)}
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("--"):
            raise RequestError(f"do not know what to do with {argument!r}; options are written --key value.")
        name, equals, text = argument[2:].partition("=")
        name = name.replace("-", "_")
        if SHORT.get(name) in known:
            name = SHORT[name]
        if name.startswith("no_") and known.get(name[3:]) is bool and not equals:
            values[name[3:]] = False
            continue
        if name not in known:
            message = unknown_key_message(f"--{name}", name, [*known, *others]).replace("unknown key", "unknown option")
            raise RequestError(message)
        if not equals and known[name] is bool:
            values[name] = True
            continue
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise RequestError(f"--{name} has no value; write --{name}={written[name]}.")
            text = rest.pop(0)
        if typing.get_origin(known[name]) is tuple:
            values[name] = (*values.get(name, ()), _parse(typing.get_args(known[name])[0], text, name))
        else:
            values[name] = _parse(known[name], text, name)
    return values


def make_requests(
    request_type: type, common: Mapping[str, Any], prompts: Sequence[str] = (), file: Path | str | None = None
) -> list[Any]:
    """One request for each prompt and each line of the file, or a single one where there are neither.

    Args:
        request_type: the dataclass.
        common: values for all requests.
        prompts: values of the field `prompt`.
        file: a `.jsonl` file with an object of any of the fields on each line (they win over `common`), or a text file with a
            prompt on each line; empty lines are passed over.

    Raises:
        RequestError: a file that cannot be read, a key or value that does not fit (with file and line), a missing one.
    """
    fields = {field.name for field in dataclasses.fields(request_type)}
    rows: list[tuple[str, Mapping[str, Any]]] = [("request", {"prompt": prompt}) for prompt in prompts]
    rows += _read_file(Path(file)) if file is not None else []
    if rows and "prompt" not in fields and any("prompt" in row for _, row in rows):
        raise RequestError(f"this model takes no prompt; its options are {', '.join(f'--{name}' for name in sorted(fields))}.")
    return [_build(request_type, {**common, **row}, where) for where, row in rows or [("request", {})]]


def help_text(request_type: type) -> str:
    """A line for each option of the request: name, type, meaning, default."""
    hints = typing.get_type_hints(request_type)
    rows = []
    for field in dataclasses.fields(request_type):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        known = "" if default is dataclasses.MISSING or default in ("", (), None, False) else f" (default {default})"
        left = f"  --{field.name}"
        if hints[field.name] is not bool:
            left += f" {_written_type(field, hints[field.name])}"
        elif default is True:
            left += f", --no-{field.name}"
        rows.append((left, f"{field.metadata.get('help', '')}{known}"))
    width = max((len(left) for left, _ in rows), default=0) + 2
    return "\n".join(f"{left:<{width}}{text}".rstrip() for left, text in rows)


def _build(request_type: type, values: Mapping[str, Any], where: str) -> Any:
    for field in dataclasses.fields(request_type):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            raise RequestError(f"{where} has no {field.name}; give it with --{field.name} or in the file of --prompts.")
    read = {
        field.name: _read_text(Path(values[field.name]))
        for field in dataclasses.fields(request_type)
        if field.metadata.get("from_file") and isinstance(values.get(field.name), str) and values[field.name]
    }
    if empty := [name for name, text in read.items() if not text]:
        raise RequestError(f"{where}: the file {values[empty[0]]} of --{empty[0]} is empty.")
    values = {**values, **read}
    for name, value in values.items():
        if isinstance(value, str) and not _is_utf8(value):
            raise RequestError(f"{where}: {name} is not UTF-8 text: {value!r}.")
    try:
        return structure(request_type, values, where)
    except ConfigError as error:
        raise RequestError(str(error)) from error


def _read_file(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """(place for messages, values) of each line."""
    lines = _read_text(path, "; --prompts takes a text file, a prompt a line, or .jsonl").split("\n")
    numbered = [(f"{path}:{number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise RequestError(f"{path} holds no prompts.")
    if path.suffix != ".jsonl":
        return [(where, {"prompt": line}) for where, line in numbered]
    return [(where, _object(where, line)) for where, line in numbered]


def _read_text(path: Path, expected: str = "") -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError as error:
        raise RequestError(f"there is no file {path}{expected}.") from error
    except OSError as error:
        raise RequestError(f"cannot read {path}: {(error.strerror or str(error)).lower()}.") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8 text (byte {error.start}); convert it, for example with iconv.") from error


def _object(where: str, line: str) -> Mapping[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{where} is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise RequestError(f'{where} must be an object such as {{"prompt": "..."}}, but is {line.strip()[:80]}.')
    return values


def _parse(hint: Any, text: str, name: str) -> Any:
    """A value of the hinted type from the command line."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if text.lower() == "none" and type(None) in arguments:
            return None
        return _parse(next(a for a in arguments if a is not type(None)), text, name)
    if origin is typing.Literal:
        kinds = {type(a) for a in arguments}
        return text if kinds == {str} else _parse(kinds.pop(), text, name)
    if hint is bool:
        if text.lower() in TRUE + FALSE:
            return text.lower() in TRUE
    elif hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            pass
    else:
        return text
    raise RequestError(f"--{name} must be {_type_name(hint)}, but is {text!r}.")


def _written_type(field: dataclasses.Field, hint: Any) -> str:
    return "FILE" if field.metadata.get("from_file") else _type_name(hint)


def _type_name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "|".join(map(str, arguments))
    if origin is tuple or origin in (typing.Union, types.UnionType):
        return _type_name(arguments[0])
    return {int: "NUMBER", float: "NUMBER", bool: "true|false", str: "TEXT"}.get(hint, "VALUE")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
