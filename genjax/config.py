"""From a config file to frozen dataclasses, with errors that name the nearest known key.

A config is a nested mapping (an `ml_collections.ConfigDict` in a config file). Each section of it is described by a frozen
dataclass that lives in the room that reads the section. `structure` turns one into the other; nothing below `train.py`'s
entry point sees a ConfigDict again.
"""

import ast
import dataclasses
import difflib
import hashlib
import importlib.util
import json
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genjax.errors import ConfigError


def structure(cls: type, values: Mapping[str, Any], path: str = "config") -> Any:
    """Builds the dataclass `cls` from a nested mapping.

    Args:
        cls: a dataclass; a field may itself be a dataclass, a scalar, a tuple, a mapping, or `| None` of these.
        values: the section of the config.
        path: where the section stands, for messages ("config.optimizer").

    Raises:
        ConfigError: unknown key (the nearest known one is named), missing required key, or value of the wrong type.
    """
    if not isinstance(values, Mapping) and not hasattr(values, "items"):
        raise ConfigError(f"{path} must be a section (a mapping of keys), but is {values!r}.")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = typing.get_type_hints(cls)
    given = dict(values.items())
    for key in given:
        if key not in fields:
            raise ConfigError(unknown_key_message(f"{path}.{key}", key, fields))
    missing = [n for n, f in fields.items() if n not in given and _required(f)]
    if missing:
        how = f"set {path}.{missing[0]} in the config file or on the command line"
        raise ConfigError(f"{path} lacks {', '.join(missing)}; {how}.")
    arguments = {name: _convert(hints[name], value, f"{path}.{name}") for name, value in given.items()}
    try:
        return cls(**arguments)
    except ConfigError:
        raise
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def unknown_key_message(full: str, key: str, known) -> str:
    """The sentence for a key that nobody knows, with the nearest known key or the list of all."""
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    if near:
        return f"unknown key {full}; did you mean {full[: len(full) - len(key)]}{near[0]}?"
    return f"unknown key {full}; known here: {', '.join(sorted(known)) or 'none'}."


def check_least(config: Any, path: str, positive: Sequence[str] = (), optional: Sequence[str] = ()) -> None:
    """Raises ConfigError: a field of the section at `path` that is below 1 (`positive`) or below 0 (`optional`)."""
    for names, least in ((positive, 1), (optional, 0)):
        for name in names:
            if getattr(config, name) < least:
                raise ConfigError(f"{path}.{name} is {getattr(config, name)}; it must be {least} or more.")


def choose(what: str, name: str, known) -> Any:
    """`known[name]`, or a ConfigError that names the nearest known name and lists all of them."""
    if name in known:
        return known[name]
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ConfigError(f"{what} {name!r} is not known{hint} Known: {', '.join(sorted(known))}.")


def plain(value: Any) -> Any:
    """A JSON-ready copy of a config, dataclass or mapping: dicts, lists and scalars."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "items"):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def config_hash(config: Any) -> str:
    """Twelve hex digits that identify a config's content (key order does not matter)."""
    return hashlib.sha256(json.dumps(plain(config), sort_keys=True).encode()).hexdigest()[:12]


def differences(old: Any, new: Any, path: str = "config") -> list[str]:
    """One line for each value that differs between two configs: `config.optimizer.peak_lr: 0.001 -> 0.0003`."""
    old, new = plain(old), plain(new)
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(old.keys() | new.keys()):
            lines += differences(old.get(key), new.get(key), f"{path}.{key}")
        return lines
    return [] if old == new else [f"{path}: {old} -> {new}"]


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [a for a in arguments if a is not type(None)]
        return _convert(options[0], value, path) if len(options) == 1 else value
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else structure(hint, value, path)
    if origin is typing.Literal:
        if value not in arguments:
            near = difflib.get_close_matches(str(value), [str(a) for a in arguments], n=1, cutoff=0.5)
            hint_text = f"; did you mean {near[0]!r}?" if near else "."
            raise ConfigError(f"{path} is {value!r}{hint_text} Known: {', '.join(map(repr, arguments))}.")
        return value
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise ConfigError(f"{path} must be a tuple, but is {value!r}.")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(arguments[0], v, f"{path}[{i}]") for i, v in enumerate(value))
        return tuple(value)
    if origin is not None and issubclass(origin, Mapping):
        return plain(value)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, str):
        return value
    if hint in (bool, int, float, str):
        raise ConfigError(f"{path} must be {_article(hint.__name__)}, but is {value!r} ({type(value).__name__}).")
    return value


def _article(name: str) -> str:
    return {"int": "a whole number", "float": "a number", "str": "a text", "bool": "True or False"}[name]


def load_file(path: Path) -> dict[str, Any]:
    """The config that the file's `get_config()` returns, as nested dicts.

    Raises:
        ConfigError: no such file, no `get_config`, or the file itself fails.
    """
    if not path.is_file():
        siblings = sorted(str(p) for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        near = difflib.get_close_matches(str(path), siblings, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "recipes are in configs/."
        raise ConfigError(f"there is no config file {path}; {hint}")
    spec = importlib.util.spec_from_file_location(f"genjax_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    # A recipe may build on a neighbour (`from gpt2_124m import get_config`).
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise ConfigError(f"{path} has no function get_config(); a config file returns its ConfigDict from one.")
        return plain_tuples(module.get_config())
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{path} cannot be read as a config: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)


def plain_tuples(value: Any) -> Any:
    """Nested dicts, with tuples for lists, from a ConfigDict."""
    if hasattr(value, "items"):
        return {str(k): plain_tuples(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(plain_tuples(v) for v in value)
    return value


def apply_overrides(config: Mapping[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """The config with `--config.section.key=value` (or `--config.section.key value`) applied, in order.

    A value is read as a Python literal (`3e-4`, `True`, `(1, 2)`) where it is one, else as text.

    Raises:
        ConfigError: an argument of another form.
    """
    result = plain_tuples(config)
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, text = argument.partition("=")
        if not name.startswith("--config."):
            raise ConfigError(f"unknown argument {argument}; config keys are set as --config.section.key=value, see --help.")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"{argument} has no value; write {argument}=value.")
            text = rest.pop(0)
        *sections, key = name.removeprefix("--config.").split(".")
        place = result
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{name}: {section} is not a section of the config, but {place!r}.")
        place[key] = _literal(text)
    return result


def _literal(text: str) -> Any:
    lowered = {"true": True, "false": False}.get(text.lower(), text)
    if not isinstance(lowered, str):
        return lowered
    try:
        return plain_tuples(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text
