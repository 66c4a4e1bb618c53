"""Frozen dataclasses to JSON and back.

Owns no value of its own. Enums travel as their value, tuples as lists, and a union of dataclasses is told
apart by its field names.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
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
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _read_union(typing.get_args(kind), data)
    if origin is tuple:
        item_kind = typing.get_args(kind)[0]
        return tuple(data) if item_kind is str else tuple(_read(item_kind, item) for item in data)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(data)
    if is_dataclass(kind) and isinstance(kind, type):
        made: Any = kind
        return made(**{name: _read(hint, data[name]) for name, hint in _hints(made) if name in data})
    return data


@cache
def _hints(kind: Any) -> tuple[tuple[str, Any], ...]:
    hints = typing.get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(kind))


def _read_union(choices: tuple[Any, ...], data: Any) -> Any:
    if data is None:
        return None
    for choice in choices:
        if is_dataclass(choice):
            known: Any = choice
            names = {name for name, _ in _hints(known)}
            if isinstance(data, Mapping) and set(data) == names:
                return _read(choice, data)
        elif typing.get_origin(choice) is tuple and isinstance(data, list):
            return _read(choice, data)
        elif isinstance(choice, type) and choice is not type(None) and isinstance(data, choice):
            return data
    raise ValueError(f"{data!r} is none of {choices}")
