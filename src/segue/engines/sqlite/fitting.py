"""The part of the editor that makes rows and references fit, and that ends the migration's transaction.

On the way forth what does not fit stops the migration, row by row. On the way back it goes into quarantine, and the
same migration's next apply takes it in again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError
from django.db.backends.ddl_references import Statement
from django.db.backends.sqlite3.schema import DatabaseSchemaEditor
from django.db.backends.utils import strip_quotes

from segue.core.change import Act, Cemetery, Kind, Retired
from segue.core.errors import StepFailed
from segue.engines.sqlite import following, images, orphans, sieve
from segue.engines.sqlite.archive import Archives
from segue.engines.sqlite.memory import Memory
from segue.engines.sqlite.orphans import ForeignKey, Orphan
from segue.engines.sqlite.quarantine import Quarantine
from segue.engines.sqlite.shape import Shape
from segue.engines.sqlite.sieve import Misfit

_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class _Copy:
    """The copy of a table's rows into its remade form that stock is about to make."""

    table: str
    nullable: Sequence[str]
    remembered: Memory | None
    is_lenient: bool


class FittingEditor(DatabaseSchemaEditor):
    """Stock's editor, inside one transaction that ends with every row where it fits."""

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
        super().__init__(connection, atomic=True)
        self._archives = Archives(connection)
        self._quarantine = Quarantine(connection, self._archives, release=release, migration=migration)
        self._shape = Shape(self)
        self._migration = migration
        self._backwards = backwards
        self._cemetery = cemetery
        self._heard = done
        self._noted = 0
        self._copy: _Copy | None = None
        self._kept: dict[tuple[str, str], Retired] = {}
        # What came back and may point at rows that are gone: table and column.
        self._forgiven: set[tuple[str, str]] = set()
        self._orphans_before: set[Orphan] = set()

    def _done(self, act: Act) -> None:
        """Say what was archived or revived."""
        self._noted += 1
        self._heard(act)

    # The transaction

    def __enter__(self) -> Any:
        """Begin the transaction, and take in what the way back had left out."""
        entered = super().__enter__()
        try:
            if self._backwards:
                self._orphans_before = {row for _, rows in self._all_orphans() for row in rows}
            self._take_in()
        except BaseException as error:
            self._take_back(error)
            raise
        return entered

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """Check the foreign keys and commit, or take everything back.

        Stock names one row that has no parent, leaves its transaction open, and checks after a failure too, where the
        violation would hide the failure.
        """
        if exc_type is not None:
            self._take_back(exc_value)
            return
        try:
            for sql in self.deferred_sql:
                self.execute(sql, None)
            self.deferred_sql.clear()
            self._take_in()
            self._settle_orphans()
            super(DatabaseSchemaEditor, self).__exit__(None, None, None)
        except BaseException as error:
            self._take_back(error)
            raise
        self.connection.enable_constraint_checking()

    def _take_back(self, error: BaseException) -> None:
        if self.connection.in_atomic_block:
            self.atomic.__exit__(type(error), error, error.__traceback__)
        self.connection.enable_constraint_checking()

    # Rows that a new shape does not take

    @contextmanager
    def _fitting(
        self, table: str, nullable: Sequence[str], remembered: Memory | None, *, is_lenient: bool
    ) -> Iterator[None]:
        """Let the copy of a table's rows, which stock makes in the block, find those that do not fit."""
        self._copy = _Copy(table=table, nullable=nullable, remembered=remembered, is_lenient=is_lenient)
        try:
            yield
        finally:
            self._copy = None

    def execute(self, sql: Any, params: Any = ()) -> None:
        """Run a statement; rows that do not fit a remade table or a unique index are found one by one."""
        copy = self._copy
        if copy is not None and isinstance(sql, str) and sql.startswith("INSERT INTO "):
            self._copy = None
            return self._copy_rows(copy, sql)
        try:
            return super().execute(sql, params)
        except IntegrityError:
            if not isinstance(sql, Statement) or "table" not in sql.parts:
                raise
            table = strip_quotes(str(sql.parts["table"]))
        with sieve.emptied(self._archives, table) as refill:
            super().execute(sql, params)
            self._leave_out(table, refill(), None)
        return None

    def _copy_rows(self, copy: _Copy, sql: str) -> None:
        try:
            # Stock would let the driver look for placeholders in it, though it writes values into it as they are.
            return super().execute(sql, None)
        except IntegrityError:
            if not copy.is_lenient:
                raise

        def mend(misfit: Misfit, take: Callable[[], bool]) -> bool:
            return self._backwards and len(copy.nullable) == 1 and self._nulled(misfit, copy.nullable[0], take)

        self._leave_out(copy.table, sieve.copy(self._archives, sql, copy.table, mend), copy.remembered)
        return None

    def _nulled(self, misfit: Misfit, column: str, take: Callable[[], bool]) -> bool:
        """Try a row without the one value that is altered; that goes into quarantine when it helps."""
        archives, quoted = self._archives, self._archives.quote(column)
        source, key = archives.quote(misfit.source), archives.key(misfit.source)
        plain = ", ".join(f"+r.{archives.quote(c)}" for c in (*key, column))
        (row,) = archives.rows(f"SELECT {plain} FROM {source} AS r WHERE {misfit.where}", misfit.params)
        try:
            archives.execute(f"UPDATE {source} AS r SET {quoted} = NULL WHERE {misfit.where}", misfit.params)
        except IntegrityError:
            return False  # The old shape takes no NULL either: the whole row goes.
        if not take():
            return False
        image = dict(zip((*key, column), row, strict=True))
        self._keep_value(misfit.source, column, image, _reason(misfit.source, misfit))
        return True

    def _leave_out(self, table: str, misfits: list[Misfit], remembered: Memory | None) -> None:
        if misfits and not self._backwards:
            raise StepFailed(self._listed(table, misfits))
        for misfit in misfits:
            if remembered is not None:
                remembered.forget(misfit.where, misfit.params)
            self._keep(table, misfit.source, misfit.where, misfit.params, _reason(table, misfit))

    def _listed(self, table: str, misfits: list[Misfit]) -> str:
        archives = self._archives
        key = archives.key(table)
        lines = [f"{len(misfits)} row{'s do' if len(misfits) > 1 else ' does'} not fit what {table} becomes:"]
        for misfit in misfits[:_LISTED]:
            row = "a row"
            if key:
                plain = ", ".join(f"+r.{archives.quote(c)}" for c in key)
                found = archives.rows(
                    f"SELECT {plain} FROM {archives.quote(misfit.source)} AS r WHERE {misfit.where}", misfit.params
                )
                row = ", ".join(f"{name} {value!r}" for name, value in zip(key, found[0], strict=True))
            lines.append(f"  {table}, {row}: {_reason(table, misfit)}")
        if len(misfits) > _LISTED:
            lines.append(f"  and {len(misfits) - _LISTED} more")
        return "\n".join(lines)

    def _keep(self, table: str, source: str, where: str, params: Sequence[Any], reason: str) -> None:
        """Put a row into quarantine, and into one archive for all of its table."""
        into = self._kept.get((table, ""))
        self._note_kept((table, ""), self._quarantine.keep_row(table, source, where, params, reason, into))

    def _keep_value(self, table: str, column: str, image: Mapping[str, Any], reason: str) -> None:
        """Put a row's value into quarantine, and into one archive for all of its column."""
        into = self._kept.get((table, column))
        self._note_kept((table, column), self._quarantine.keep_value(table, column, image, reason, into))

    def _note_kept(self, name: tuple[str, str], kept: Retired) -> None:
        if self._kept.get(name) != kept:
            self._kept[name] = kept
            self._done(Act(retires=(kept,)))

    def _take_in(self) -> None:
        """Put back what this migration's way back had left out, as far as it fits by now."""
        if self._backwards:
            return
        for kept in self._cemetery.all():
            if not self._quarantine.is_left_out(kept):
                continue
            self._forgive(kept.table, self._archives.columns(kept.table))
            if self._quarantine.take_in(kept):
                self._archives.drop(kept.place)
                self._done(Act(revives=(kept,)))

    # References

    def _forgive(self, table: str, columns: Iterable[str]) -> None:
        """What came back may point at what is gone: that is nobody's mistake, and goes into quarantine."""
        self._forgiven |= {(table, column) for column in columns}

    def _all_orphans(self) -> list[tuple[ForeignKey, list[Orphan]]]:
        return [(key, orphans.orphans(self._archives, key)) for key in orphans.violated(self._archives)]

    def _settle_orphans(self) -> None:
        """Cut references that point at nothing, until none is left, or raise StepFailed with a list of them.

        On the way back only those stay that were there before.
        """
        while True:
            found = [(key, [o for o in rows if o not in self._orphans_before]) for key, rows in self._all_orphans()]
            if not self._backwards:
                orphans.require_none((key, rows) for key, rows in found if not self._is_forgiven(key))
            if not any(self._cut(key, rows) for key, rows in found if rows):
                return

    def _is_forgiven(self, key: ForeignKey) -> bool:
        return any((key.table, column) in self._forgiven for column in key.columns)

    def _cut(self, key: ForeignKey, rows: Sequence[Orphan]) -> bool:
        """Cut a foreign key's references that point at nothing: NULL where that may be, else the row goes."""
        archives = self._archives
        for row in rows:
            reason = f"{key.name} has no row in {key.parent}"
            if key.nullable and self._nullified(key, row):
                for column, value in zip(key.columns, row.values, strict=True):
                    self._keep_value(key.table, column, {**row.own, column: value}, reason)
            else:
                self._keep(key.table, key.table, orphans.row(archives, key), row.key, reason)
                table = archives.quote(key.table)
                archives.execute(f"DELETE FROM {table} AS r WHERE {orphans.row(archives, key)}", row.key)
        return bool(rows)

    def _nullified(self, key: ForeignKey, row: Orphan) -> bool:
        archives = self._archives
        nothing = ", ".join(f"{archives.quote(c)} = NULL" for c in key.columns)
        try:
            archives.execute(
                f"UPDATE {archives.quote(key.table)} AS r SET {nothing} WHERE {orphans.row(archives, key)}", row.key
            )
        except IntegrityError:
            return False  # Some check wants a value: then the row goes.
        return True

    # What is retired

    def _find(
        self, kind: Kind, table: str, name: str, definition: str, columns: Sequence[str] | None
    ) -> Retired | None:
        """Return the newest retired object that was the same, if its archive has these columns."""
        for retired in self._cemetery.find(kind, table, name):
            was = following.referring(retired.definition, retired.place, table, self.quote_name)
            if was != definition or not retired.place:
                continue
            self._archives.require(retired)
            if columns is None or set(columns) <= set(self._archives.columns(retired.place)):
                return retired
        return None

    def _follow(self, change: Callable[[Retired], Retired]) -> None:
        """Journal what every retired object is, now that something is called otherwise."""
        every = self._cemetery.all()
        changed = [(one, change(one)) for one in every]
        pairs = [(one, other) for one, other in changed if one != other]
        if pairs:
            self._done(Act(revives=tuple(one for one, _ in pairs), retires=tuple(other for _, other in pairs)))

    def _follow_table(self, old: str, new: str) -> None:
        if old == new:
            return
        self._follow(lambda r: following.table_renamed(r, old, new, self.quote_name))
        self._forgiven = {(new if table == old else table, column) for table, column in self._forgiven}
        self._kept.clear()

    def _follow_column(self, table: str, old: str, new: str) -> None:
        if old == new:
            return
        self._follow(lambda r: following.column_renamed(r, table, old, new, self.quote_name))
        self._rename_in_archives(table, old, new)
        self._forgiven = {(t, new if (t, c) == (table, old) else c) for t, c in self._forgiven}
        self._kept.clear()

    def _column_dropped(self, table: str, column: str, place: str) -> None:
        self._follow(lambda r: following.column_dropped(r, table, column, place))
        self._rename_in_archives(table, column, f"{place}.{column}")

    def _column_revived(self, table: str, column: str, place: str) -> None:
        self._follow(lambda r: following.column_revived(r, table, column, place))
        self._rename_in_archives(table, f"{place}.{column}", column)

    def _rename_in_archives(self, table: str, old: str, new: str) -> None:
        for retired in self._cemetery.all():
            if retired.table == table and retired.place and retired.kind is not Kind.TABLE:
                for prefix in images.PREFIXES:
                    self._archives.rename_column(retired.place, prefix + old, prefix + new)


def _reason(table: str, misfit: Misfit) -> str:
    """Return SQLite's reason, with the table called as it is and not as its remade form."""
    return misfit.reason.replace(f"new__{strip_quotes(table)}.", f"{strip_quotes(table)}.")
