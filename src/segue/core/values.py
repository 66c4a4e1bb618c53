"""Frozen dataclasses to JSON and back.

Owns no value of its own. Enums travel as their value, tuples as lists, and a union of dataclasses is told
apart by its field names.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Return the value as dicts, lists, strings and numbers."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (tuple, list, frozenset)):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    return value


def from_json(kind: type[T], data: Any) -> T:
    """Return the value of the given dataclass that `to_json` wrote; unknown keys are ignored."""
    return typing.cast(T, _read(kind, data))


def _read(kind: Any, data: Any) -> Any:
    return _reader(kind)(data)


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """Return what reads a kind of value: a journal is read often, and what its types are never changes."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        choices = typing.get_args(kind)
        return lambda data: _read_union(choices, data)
    if origin is tuple:
        item_kind = typing.get_args(kind)[0]
        read = _reader(item_kind)
        return tuple if item_kind is str else lambda data: tuple([read(item) for item in data])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if is_dataclass(kind) and isinstance(kind, type):
        made: Any = kind
        readers = [(name, _reader(hint)) for name, hint in _hints(made)]
        return lambda data: made(**{name: read(data[name]) for name, read in readers if name in data})
    return _as_it_is


def _as_it_is(data: Any) -> Any:
    return data


@cache
def _hints(kind: Any) -> tuple[tuple[str, Any], ...]:
    hints = typing.get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(kind))


@cache
def _names(kind: Any) -> frozenset[str]:
    return frozenset(name for name, _ in _hints(kind))


def _read_union(choices: tuple[Any, ...], data: Any) -> Any:
    if data is None:
        return None
    for choice in choices:
        if is_dataclass(choice):
            known: Any = choice
            if isinstance(data, Mapping) and data.keys() == _names(known):
                return _read(choice, data)
        elif typing.get_origin(choice) is tuple and isinstance(data, list):
            return _read(choice, data)
        elif isinstance(choice, type) and choice is not type(None) and isinstance(data, choice):
            return data
    raise ValueError(f"{data!r} is none of {choices}")
