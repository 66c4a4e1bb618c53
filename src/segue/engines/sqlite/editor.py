"""Django's schema editor, with an archive before everything that holds values and is dropped or changed.

Stock does every change itself; here is only what comes before a drop and after a creation, and what an alteration
makes of values. Nothing here is undone by hand: a migration is one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.db.backends.ddl_references import Statement
from django.db.backends.utils import strip_quotes
from django.db.models import NOT_PROVIDED, Field, IntegerField, Model

from segue.core.change import Act, Cemetery, Kind, Retired
from segue.core.errors import StepFailed
from segue.engines.sqlite import following, memory, rekey, revive
from segue.engines.sqlite.archive import VALUE
from segue.engines.sqlite.fitting import FittingEditor
from segue.engines.sqlite.memory import Altered, Memory
from segue.engines.sqlite.revive import NewColumn


class ArchivingEditor(FittingEditor):
    """Runs a migration in one transaction; `done` hears in it of each archive that is made or emptied.

    A migration that asks for no transaction gets one all the same: nothing else could take it back.
    """

    def __init__(
        self,
        connection: Any,
        *,
        release: str,
        migration: str,
        backwards: bool,
        cemetery: Cemetery,
        done: Callable[[Act], None],
    ) -> None:
        super().__init__(
            connection, release=release, migration=migration, backwards=backwards, cemetery=cemetery, done=done
        )
        self._created: list[type[Model]] = []
        self._is_copying = False
        # Whether a statement comes from a verb of this editor, and which tables its verbs have made.
        self._is_verb = False
        self._made: set[str] = set()
        self._instead_of: Callable[[str], str] | None = None
        self._moved: dict[str, list[tuple[object, object]]] = {}

    # Tables

    def create_model(self, model: type[Model]) -> None:
        """Create a table, and fill it again when it is retired and was the same."""
        if self._is_copying:
            return super().create_model(model)
        self._created.append(model)
        self._made.add(_table(model))
        super().create_model(model)
        # Stock creates implicit tables inside: their rows need this table's rows to be back first.
        if self._created[0] is model:
            created, self._created = self._created, []
            for table in created:
                self._revive_table(table)
        return None

    def _revive_table(self, model: type[Model]) -> None:
        table, columns = _table(model), self._shape.columns(model)
        retired = self._find(Kind.TABLE, table, table, self._shape.table(model), columns)
        if retired is None:
            return
        revive.put_back_table(self._archives, self._quarantine, retired.place, table, columns)
        self._forgive(table, columns)
        self._done(Act(revives=(retired,)))
        self._follow(lambda r: following.table_revived(r, retired.place, table, self.quote_name))

    def delete_model(self, model: type[Model], handle_autom2m: bool = True) -> None:
        """Archive a table's rows and drop it; its implicit tables go the same way."""
        if self._is_copying:
            return super().delete_model(model, handle_autom2m=handle_autom2m)
        table = _table(model)
        if not self._holds_anything(table):
            return super().delete_model(model, handle_autom2m=handle_autom2m)
        place = self._archives.bury(table)
        # What refers to the table itself refers to the one in the archive.
        definition = following.referring(self._shape.table(model), table, place, self.quote_name)
        with self._by_verb():
            super().delete_model(model, handle_autom2m=handle_autom2m)
        self._follow(lambda r: following.table_dropped(r, table, place, self.quote_name))
        retired = Retired(kind=Kind.TABLE, table=table, name=table, definition=definition, place=place)
        self._done(Act(retires=(retired,)))
        return None

    def _holds_anything(self, table: str) -> bool:
        """Whether a table has rows, had any that its numbers tell of, or has something retired."""
        archives = self._archives
        retired = any(r.table == table and r.kind is not Kind.TABLE for r in self._cemetery.all())
        return retired or archives.has_rows(table) or archives.sequence(table) is not None

    def alter_db_table(self, model: type[Model], old_db_table: str, new_db_table: str, *args: Any, **kw: Any) -> None:
        """Rename a table, and what is retired of it."""
        with self._by_verb():
            super().alter_db_table(model, old_db_table, new_db_table, *args, **kw)
        if not self._is_copying:
            self._follow_table(strip_quotes(old_db_table), strip_quotes(new_db_table))

    # Columns

    def add_field(self, model: type[Model], field: Field[Any, Any]) -> None:
        """Add a column, with the values that it had when it is retired and was the same.

        A row that has been written since gets the default, one of its own where the column is unique.
        """
        if not self._shape.is_stored(field):
            return super().add_field(model, field)
        table, column = _table(model), _column(field)
        rest = None if field.primary_key else self._key(model)
        definition = self._shape.column(model, field)
        retired = self._find(Kind.COLUMN, table, column, definition, None if rest is None else (*rest, VALUE))
        own = partial(self.effective_default, field) if _is_called_for_each(field) else None
        if retired is None and own is None:
            self._require_values(model, field)
            super().add_field(model, field)
        elif own is None and not field.primary_key and self._is_added_first(field):
            super().add_field(model, field)
            if retired is not None:
                revive.put_back(self._archives, table, column, retired.place, rest or ())
        else:
            self._add_with_values(model, field, retired, own)
        if retired is not None:
            revive.settle(self._archives, self._quarantine, table, column, retired.place, rest)
            self._forgive(table, (column,))
            self._done(Act(revives=(retired,)))
            self._column_revived(table, column, retired.place)
        self._take_in()
        return None

    def _is_added_first(self, field: Field[Any, Any]) -> bool:
        """Whether the column can be there before its values: it may be empty, or the database has a default.

        What stock does without remaking the table must be so here: a remade one gets its indexes earlier.
        """
        if getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED:
            return True
        return field.null and not field.unique and self.effective_default(field) is None

    def _require_values(self, model: type[Model], field: Field[Any, Any]) -> None:
        if field.null or field.primary_key or self.effective_default(field) is not None:
            return
        has_default = getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED
        if not has_default and self._archives.has_rows(_table(model)):
            raise StepFailed(
                f"{_table(model)}.{field.column} takes no NULL and has no default, and there are rows without "
                "a value for it. Give the field a default in its migration."
            )

    def _add_with_values(
        self, model: type[Model], field: Field[Any, Any], retired: Retired | None, own: Callable[[], Any] | None
    ) -> None:
        """Let stock copy the rows' own values into the remade table, where it would copy the default.

        A column that is unique, or takes no NULL and has no default, could not be added in any other way.
        """
        archives, table = self._archives, _table(model)
        place = retired.place if retired is not None else None
        if not field.primary_key:
            new = revive.values(archives, table, place, self._key(model), own)
        elif place is not None:
            new = self._values_of_key(model, field, place, own)
        else:
            new = revive.values(archives, table, None, (), own)
        self._require_no_row_without(model, field, new)
        self._instead_of = partial(new.value_or, archives)
        try:
            self._remake_table(model, create_field=field)
        finally:
            self._instead_of = None
        revive.forget(archives)

    def _values_of_key(
        self, model: type[Model], field: Field[Any, Any], place: str, own: Callable[[], Any] | None
    ) -> NewColumn:
        archives, table = self._archives, _table(model)
        new = revive.values(archives, table, None, (), None)
        by = rekey.recognise(archives, table, place, self._shape.unique(model))
        rekey.pair(archives, table, place, by, revive.VALUES)
        if isinstance(field, IntegerField):
            rekey.number_the_rest(archives, table, place, revive.VALUES)
        elif own is not None:
            revive.fill(archives, new, own)
        return new

    def _require_no_row_without(self, model: type[Model], field: Field[Any, Any], new: NewColumn) -> None:
        """On the way back such a row goes into quarantine; on the way forth it stops the migration."""
        if self._backwards or field.null or field.primary_key or self.effective_default(field) is not None:
            return
        if missing := revive.missing(self._archives, new):
            raise StepFailed(
                f"{_table(model)}.{field.column} takes no NULL and has no default, and {missing} "
                f"row{'s have' if missing > 1 else ' has'} no value for it: written while it was away. Give the field "
                "a default in its migration, or settle these rows first."
            )

    def prepare_default(self, value: Any) -> str:
        """Return the SQL of what a column is filled with: its default, or what its rows had before."""
        default = str(super().prepare_default(value))
        return self._instead_of(default) if self._instead_of else default

    def remove_field(self, model: type[Model], field: Field[Any, Any]) -> None:
        """Archive a column's values and drop it."""
        if not self._shape.is_stored(field) or not self._is_there(model, field):
            return super().remove_field(model, field)
        retired = self._bury_column(model, field)
        with self._by_verb():
            super().remove_field(model, field)
        self._column_gone(retired)
        self._take_in()
        return None

    def _bury_column(self, model: type[Model], field: Field[Any, Any]) -> Retired | None:
        """Archive a column that is about to be dropped; None where its table never held anything."""
        table, column, key = _table(model), _column(field), self._key(model)
        if not self._holds_anything(table):
            return None
        definition = self._shape.column(model, field)
        if column in key or not key:  # Without their key only the rest of a row can tell whose value it was.
            rest = tuple(c for c in self._archives.columns(table) if c != column)
            place = self._archives.bury_column(table, column, rest, keyed=False)
        else:
            place = self._archives.bury_column(table, column, key, keyed=True)
        return Retired(kind=Kind.COLUMN, table=table, name=column, definition=definition, place=place)

    def _column_gone(self, retired: Retired | None) -> None:
        if retired is not None:
            self._column_dropped(retired.table, retired.name, retired.place)
            self._done(Act(retires=(retired,)))

    def alter_field(
        self, model: type[Model], old_field: Field[Any, Any], new_field: Field[Any, Any], strict: bool = False
    ) -> None:
        """Alter a column; what is retired of it, and what refers to it, follows."""
        self._moved = {}
        with self._by_verb():
            super().alter_field(model, old_field, new_field, strict=strict)
        if self._shape.is_stored(old_field) and self._shape.is_stored(new_field):
            self._follow_column(_table(model), _column(old_field), _column(new_field))
        for pairs in self._moved.values():
            self._follow_references(new_field, pairs)
        self._take_in()

    def _follow_references(self, target: Any, pairs: list[tuple[object, object]]) -> None:
        """Give the rows that refer to the column the values that it got back, and those that refer to them."""
        for relation in target.model._meta.get_fields(include_hidden=True):
            if not relation.auto_created or relation.concrete or relation.many_to_many:
                continue
            field, child = relation.field, _table(relation.related_model)
            if field.target_field.column == target.column and field.column in self._archives.columns(child):
                memory.follow(self._archives, child, field.column, pairs)
                if field.unique and field.model is not target.model:
                    self._follow_references(field, pairs)

    # What stock copies

    def _remake_table(
        self, model: type[Model], create_field: Any = None, delete_field: Any = None, alter_fields: Any = None
    ) -> None:
        """Remake a table as stock does, and let its numbers go on where they were.

        Stock begins again after the highest number that is left, so that a new row could get the number, and
        with it the archived value, of one that was deleted. It also leaves out columns that no model knows.
        """
        table = _table(model)
        is_for_another = not (create_field or delete_field or alter_fields)
        if is_for_another and not self._archives.columns(table):
            return  # States share their models, so one may still know of a model that refers to it and is deleted.
        self._bury_unknown(model)
        last = self._archives.sequence(table)
        replaced = self._replaced_key(model, [create_field] if create_field else [new for _, new in alter_fields or ()])
        retired = self._bury_column(model, replaced) if replaced is not None else None
        remembered = self._memory(model, alter_fields or [], () if replaced is not None else self._key(model))
        if remembered is not None:
            remembered.begin()
        nullable = [old.column for old, new in alter_fields or () if new.null]
        is_lenient = create_field is None or self._instead_of is not None
        with self._copying(), self._fitting(table, nullable, remembered, is_lenient=is_lenient):
            super()._remake_table(model, create_field, delete_field, alter_fields)  # type: ignore[misc]  # no stub
        self._column_gone(retired)
        self._archives.raise_sequence(table, last)
        for old, new in alter_fields or ():
            self._follow_column(table, _column(old), _column(new))
        if remembered is not None:
            self._put_back(remembered)

    def _bury_unknown(self, model: type[Model]) -> None:
        table, key = _table(model), self._key(model)
        known = {name.lower() for name in self._shape.columns(model)}
        for column in self._archives.columns(table):
            if column.lower() not in known and self._archives.has_rows(table):
                rest = key or tuple(c for c in self._archives.columns(table) if c != column)
                place = self._archives.bury_column(table, column, rest, keyed=bool(key))
                retired = Retired(kind=Kind.COLUMN, table=table, name=column, definition="", place=place)
                self._done(Act(retires=(retired,)))

    def _replaced_key(self, model: type[Model], fields: Sequence[Any]) -> Field[Any, Any] | None:
        """Return the automatic key that stock drops unasked, because one of these fields becomes the key."""
        names = {field.name for field in fields}
        if not any(field.primary_key for field in fields):
            return None
        keys = [f for f in model._meta.local_concrete_fields if f.primary_key and f.auto_created]
        return next((f for f in keys if f.name not in names and self._is_there(model, f)), None)

    def _memory(
        self, model: type[Model], alter_fields: Sequence[tuple[Any, Any]], key: tuple[str, ...]
    ) -> Memory | None:
        """Return a memory for the columns whose values may change; it needs a key to know a row again."""
        table = _table(model)
        altered = [
            self._altered(model, old, new)
            for old, new in alter_fields
            if self._shape.is_stored(old)
            and self._shape.is_stored(new)
            and self._shape.column(model, old) != self._shape.column(model, new)
        ]
        if not altered:
            return None
        becoming = [old.column for old, new in alter_fields if new.primary_key]
        if key or becoming:
            return Memory(self._archives, table, key or becoming[:1], altered)
        if self._archives.has_rows(table):
            self._done(Act(retires=tuple(self._bury_keyless(table, one) for one in altered)))
        return None

    def _altered(self, model: type[Model], old: Any, new: Any) -> Altered:
        before, after = self._shape.column(model, old), self._shape.column(model, new)
        inverse = self._find(Kind.VALUES, _table(model), old.column, f"{after} -> {before}", None)
        return Altered(
            old=old.column,
            new=new.column,
            new_type=new.db_parameters(connection=self.connection)["type"],
            definition=f"{before} -> {after}",
            is_referenced=new.unique,
            inverse=inverse,
        )

    def _bury_keyless(self, table: str, altered: Altered) -> Retired:
        rest = tuple(c for c in self._archives.columns(table) if c != altered.old)
        place = self._archives.bury_column(table, altered.old, rest, keyed=False)
        return Retired(kind=Kind.COLUMN, table=table, name=altered.old, definition="", place=place)

    def _put_back(self, remembered: Memory) -> None:
        moved, refused = remembered.put_back()
        self._moved |= moved
        for image in refused:
            self._quarantine.line(remembered.table, image, "another row has this value, or the column cannot take it")
        revived = [one for one in remembered.altered if one.inverse is not None]
        made = remembered.end()
        for one in revived:
            assert one.inverse is not None
            self._archives.drop(one.inverse.place)
            self._forgive(remembered.table, (one.new,))
        inverses = tuple(one.inverse for one in revived if one.inverse is not None)
        if made or inverses:
            self._done(Act(retires=tuple(made), revives=inverses))

    def _alter_many_to_many(self, model: type[Model], old_field: Any, new_field: Any, strict: bool) -> None:
        with self._copying():
            super()._alter_many_to_many(model, old_field, new_field, strict)  # type: ignore[misc]  # no stub
        old, new = (_table(f.remote_field.through) for f in (old_field, new_field))
        self._follow_table(old, new)

    @contextmanager
    def _copying(self) -> Iterator[None]:
        outer, self._is_copying = self._is_copying, True
        try:
            with self._by_verb():
                yield
        finally:
            self._is_copying = outer

    @contextmanager
    def _by_verb(self) -> Iterator[None]:
        outer, self._is_verb = self._is_verb, True
        try:
            yield
        finally:
            self._is_verb = outer

    # Constraints and indexes

    def alter_unique_together(self, *args: Any) -> None:
        """Alter them; rows that the way back had left out may fit again."""
        super().alter_unique_together(*args)
        self._take_in()

    def remove_constraint(self, model: type[Model], constraint: Any) -> None:
        """Remove it; rows that the way back had left out may fit again."""
        self._make_deferred(_table(model), constraint.name)
        super().remove_constraint(model, constraint)
        self._take_in()

    def remove_index(self, model: type[Model], index: Any) -> None:
        """Remove it; rows that the way back had left out may fit again."""
        self._make_deferred(_table(model), index.name)
        super().remove_index(model, index)
        self._take_in()

    def _constraint_names(self, model: type[Model], *args: Any, **kwargs: Any) -> Any:
        self._make_deferred(_table(model))
        return super()._constraint_names(model, *args, **kwargs)  # type: ignore[misc]  # no stub

    def _make_deferred(self, table: str, name: str = "") -> None:
        """Make the indexes that stock leaves to a migration's end, when one of them is about to be looked for.

        A migration that makes a table and removes an index of it, as the way back of others does, fails in stock.
        """
        for sql in [*self.deferred_sql]:
            if isinstance(sql, Statement) and sql.references_table(table) and name in str(sql):
                self.deferred_sql.remove(sql)
                self.execute(sql, None)

    # Pieces

    def _is_there(self, model: type[Model], field: Field[Any, Any]) -> bool:
        """Whether the model's table has the column: stock may have dropped a key unasked."""
        return _column(field).lower() in {name.lower() for name in self._archives.columns(_table(model))}

    def _key(self, model: type[Model]) -> tuple[str, ...]:
        """Return the model's key, if its table has it: between two operations it may have none."""
        key = self._shape.key(model)
        return key if set(key) <= set(self._archives.columns(_table(model))) else ()


def _table(model: type[Model]) -> str:
    """Return the name of the model's table as the database knows it."""
    return strip_quotes(model._meta.db_table)


def _column(field: Field[Any, Any]) -> str:
    """Return the name of the field's column, which it must have."""
    return str(field.column)


def _is_called_for_each(field: Field[Any, Any]) -> bool:
    """Whether each row needs a default of its own; stock would give all rows one, which fails from the second on."""
    return bool(field.unique and not field.remote_field and callable(field.default))
