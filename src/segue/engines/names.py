"""What the database calls a table or a column now, for models that know it by the name that new code gives it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.apps.registry import Apps

from segue.core.change import Alias

# Where Django keeps a column's name, or a reference that was made with it.
_CACHES = ("cached_col", "_m2m_column_cache", "_m2m_reverse_column_cache")
# What a model's options or a field are called without the aliases, by identity: states share model classes.
_logical: dict[int, str] = {}


@contextmanager
def physical_names(apps: Apps, aliases: Sequence[Alias]) -> Iterator[None]:
    """Let the models of a state use the database's own names for the block.

    It may be nested, with the same or with more aliases and for states that share models: an alias always
    means the name that the migration gave, never one that was put in its place.
    """
    if not aliases:
        yield
        return
    renamed: list[tuple[Any, str, str, bool]] = []
    _forget(apps)
    try:
        for holder, attribute, place in _places(apps, aliases):
            now = getattr(holder, attribute)
            outermost = id(holder) not in _logical
            renamed.append((holder, attribute, now, outermost))
            if outermost:
                _logical[id(holder)] = now
            setattr(holder, attribute, place)
        yield
    finally:
        for holder, attribute, before, outermost in reversed(renamed):
            setattr(holder, attribute, before)
            if outermost:
                del _logical[id(holder)]
        _forget(apps)


@contextmanager
def logical_names(model: Any) -> Iterator[None]:
    """Let one model use the names that the migrations have for its table and its columns for the block."""
    holders = [(model._meta, "db_table"), *((field, "column") for field in model._meta.local_fields)]
    physical = [(holder, attribute, getattr(holder, attribute)) for holder, attribute in holders]
    try:
        for holder, attribute in holders:
            setattr(holder, attribute, _logical.get(id(holder), getattr(holder, attribute)))
        _forget_fields(model)
        yield
    finally:
        for holder, attribute, name in physical:
            setattr(holder, attribute, name)
        _forget_fields(model)


def logical_table(model: Any) -> str:
    """Return the table's name as the migrations have it, whatever it is called for now."""
    return _name(model._meta, "db_table")


def logical_column(field: Any) -> str:
    """Return the column's name as the migrations have it, whatever it is called for now."""
    return _name(field, "column")


def _models(apps: Apps) -> list[Any]:
    return list(apps.get_models(include_auto_created=True, include_swapped=True))


def _places(apps: Apps, aliases: Sequence[Alias]) -> list[tuple[Any, str, str]]:
    """Return whose name is another one in the database: options or a field, the attribute, and that name."""
    tables = {alias.table: alias.place for alias in aliases if not alias.column}
    columns = {(alias.table, alias.column): alias.place for alias in aliases if alias.column}
    found = {}
    for model in _models(apps):
        table = _name(model._meta, "db_table")
        if table in tables:
            found[id(model._meta)] = (model._meta, "db_table", tables[table])
        for field in model._meta.local_fields:
            place = columns.get((tables.get(table, table), _name(field, "column"))) if field.column else None
            if place is not None:
                found[id(field)] = (field, "column", place)
    return list(found.values())


def _name(holder: Any, attribute: str) -> str:
    return _logical.get(id(holder)) or str(getattr(holder, attribute))


def _forget(apps: Apps) -> None:
    for model in _models(apps):
        _forget_fields(model)


def _forget_fields(model: Any) -> None:
    for field in (*model._meta.local_fields, *model._meta.local_many_to_many):
        for cache in _CACHES:
            field.__dict__.pop(cache, None)
