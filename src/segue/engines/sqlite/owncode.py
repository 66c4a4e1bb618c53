"""A migration's own code on SQLite: RunPython, RunSQL and operations that Segue does not know.

It runs as it is, watched. What it drops by hand is archived before, and what it changes in rows is remembered, so
that the way back brings it back, with a reverse or without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.db.backends.sqlite3.schema import DatabaseSchemaEditor
from django.db.migrations.exceptions import IrreversibleError

from segue.core.change import Act, Kind, Retired
from segue.engines.sqlite import following, images, revive
from segue.engines.sqlite.archive import VALUE
from segue.engines.sqlite.ddl import Reshaping, reshaping
from segue.engines.sqlite.editor import ArchivingEditor
from segue.engines.sqlite.images import Overlay
from segue.engines.sqlite.orphans import ForeignKey, Orphan
from segue.engines.sqlite.watch import Watch

# What the images are marked with of code that ran on the way forth, or back: they serve the other way.
_FORTH, _BACK = "forth", "back"
# What a column's definition begins with that was dropped by hand, so that no field's is like it.
_BY_HAND = "by hand: "


class OwnCodeEditor(ArchivingEditor):
    """The editor that also runs what is no verb of a schema editor."""

    def own_code(
        self, name: str, forth: Callable[[], None], back: Callable[[], None] | None, *, is_reversible: bool
    ) -> None:
        """Run code under the name of its operation; `back` is None where it has no reverse, or one that does nothing.

        Code that nothing was done to take back of, and that nobody has written anything since to, does not run again:
        what it had made of the rows, and new code after it, is there again as it was. Raises IrreversibleError when
        there is no reverse and nothing is known of what to take back.
        """
        inverse, own = (_FORTH, _BACK) if self._backwards else (_BACK, _FORTH)
        every = [r for r in self._cemetery.all() if (r.kind, r.name) == (Kind.ROWS, name)]
        known = [r for r in every if r.definition.split(":")[0] == inverse]
        if self._backwards and not (known or is_reversible):
            raise IrreversibleError(f"{name} is not reversible, and what it did was not watched")
        before, watch = self._shapes(), Watch(self._archives)
        with watch.watching():
            if self._backwards:
                self._run(watch, back)
            elif not self._is_done(watch, known):
                self._run_beside(watch, forth, known)
            self._lay(watch, known)
            digest = watch.digest() if self._backwards and back is None else ""
        self._revive_by_hand(before)
        made = self._remembered(watch, name, own, known, every_row=self._backwards or back is not None)
        watch.forget()
        if digest:
            made.append(Retired(kind=Kind.ROWS, table="", name=name, definition=f"{own}:{digest}"))
        elif not (made or is_reversible or self._backwards or self._shapes() != before):
            # That it has changed nothing must be known too, to take it back without a reverse.
            made.append(Retired(kind=Kind.ROWS, table="", name=name, definition=own))
        for retired in known:
            if retired.place:
                self._archives.drop(retired.place)
        if made or known:
            self._done(Act(retires=tuple(made), revives=tuple(known)))

    def _run(self, watch: Watch, code: Callable[[], None] | None) -> None:
        if code is not None:
            with self.connection.execute_wrapper(self._looking_at(watch)):
                code()

    def _is_done(self, watch: Watch, known: list[Retired]) -> bool:
        """Whether nobody has written anything since the way back, which had left everything to the images."""
        marks = [r.definition for r in known if not r.place]
        return bool(marks) and f"{_BACK}:{watch.digest()}" in marks

    def _run_beside(self, watch: Watch, code: Callable[[], None], known: list[Retired]) -> None:
        """Run code that has run before, among the rows that it and new code had made.

        Where it cannot bear them it runs without: they come back after it.
        """
        archived = [(w, r.place) for r in known if r.place and (w := watch.seen(r.table)) is not None]
        if not archived:
            return self._run(watch, code)
        noted = self._noted
        try:
            with watch.attempt(), transaction.atomic(using=self.connection.alias):
                return self._run(watch, code)
        except Exception:
            # Whatever it raised, it may be these rows; but what was journaled of it cannot be taken back here.
            if self._noted != noted:
                raise
        for watched, place in archived:
            Overlay(archives=self._archives, watched=watched, place=place).set_aside()
        return self._run(watch, code)

    def _lay(self, watch: Watch, known: list[Retired]) -> None:
        for retired in known:
            watched = watch.seen(retired.table)
            if watched is None or not retired.place:
                continue
            self._archives.require(retired)
            for row in Overlay(archives=self._archives, watched=watched, place=retired.place).lay():
                self._quarantine.line(retired.table, row, "another row stands in the way of this one")
            self._forgive(retired.table, watched.columns)

    def _remembered(
        self, watch: Watch, name: str, definition: str, known: list[Retired], *, every_row: bool
    ) -> list[Retired]:
        """Archive what the code and the way back have changed; with every row, nothing that follows can lose one."""
        tables = {watched.table: watched for watched in watch.touched()}
        if self._backwards:
            tables |= {w.table: w for w in (watch.seen(retired.table) for retired in known) if w is not None}
        places = [(t, images.keep(self._archives, w, every_row=every_row)) for t, w in tables.items()]
        return [
            Retired(kind=Kind.ROWS, table=table, name=name, definition=definition, place=place)
            for table, place in places
            if place is not None
        ]

    def _cut(self, key: ForeignKey, rows: Sequence[Orphan]) -> bool:
        """Cut references, but for those to rows that this migration's code had made: these come back for them."""
        left = [row for row in rows if not self._parent_is_back(key, row)]
        return super()._cut(key, left) or len(left) < len(rows)

    def _parent_is_back(self, key: ForeignKey, row: Orphan) -> bool:
        return self._backwards and any(
            images.bring_back(self._archives, retired.place, key.parent, key.parent_columns, row.values)
            for retired in self._cemetery.all()
            if (retired.kind, retired.table, retired.definition) == (Kind.ROWS, key.parent, _BACK)
            and retired.name.startswith(f"{self._migration}:")
        )

    # What is dropped by hand

    def _shapes(self) -> dict[str, tuple[str, ...]]:
        tables = self._archives.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name: self._archives.columns(name) for (name,) in tables}

    def _looking_at(self, watch: Watch) -> Callable[..., Any]:
        """Return what looks at every statement that the code runs.

        https://docs.djangoproject.com/en/stable/topics/db/instrumentation/
        """
        is_ours = False

        def look(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
            nonlocal is_ours
            change = None if is_ours else reshaping(str(sql))
            if change is None or change.table.startswith("segue_") or not self._archives.columns(change.table):
                return execute(sql, params, many, context)
            is_ours = True
            try:
                watch.look_away(change.table)
                with self._reshaped(change):
                    return execute(sql, params, many, context)
            finally:
                is_ours = False

        return look

    @contextmanager
    def _reshaped(self, change: Reshaping) -> Iterator[None]:
        """Archive what a statement written by hand takes away; a verb of the editor has done so itself."""
        if self._is_verb:
            yield
            return
        retired = self._buried_by_hand(change)
        yield
        if change.drops_table:
            place = retired[0].place if retired else ""
            self._follow(lambda r: following.table_dropped(r, change.table, place, self.quote_name))
        elif change.drops_column and retired:
            self._column_dropped(change.table, change.drops_column, retired[0].place)
        elif change.renames_column:
            self._follow_column(change.table, change.renames_column, change.to)
        elif change.to:
            self._follow_table(change.table, change.to)
        if retired:
            self._done(Act(retires=retired))

    def _buried_by_hand(self, change: Reshaping) -> tuple[Retired, ...]:
        archives, table = self._archives, change.table
        if change.drops_table and self._holds_anything(table):
            definition = self._declared(table)
            place = archives.bury(table)
            return (Retired(kind=Kind.TABLE, table=table, name=table, definition=definition, place=place),)
        key = archives.key(table)
        if change.drops_column in archives.columns(table) and key and archives.has_rows(table):
            definition = _BY_HAND + self._declared(table, change.drops_column)
            place = archives.bury_column(table, change.drops_column, key, keyed=True)
            return (
                Retired(kind=Kind.COLUMN, table=table, name=change.drops_column, definition=definition, place=place),
            )
        return ()

    def _declared(self, table: str, column: str = "") -> str:
        """Return how a table was made, or a column's type."""
        if not column:
            return str(self._archives.rows("SELECT sql FROM sqlite_master WHERE name = %s", [table])[0][0])
        info = self._archives.rows(f"PRAGMA table_info({self._archives.quote(table)})")
        return str(next(row[2] for row in info if row[1] == column))

    def _revive_by_hand(self, before: dict[str, tuple[str, ...]]) -> None:
        """Give what the code has made again what it had before."""
        for table, columns in self._shapes().items():
            if self._archives.is_archive(table) or table in self._made:
                continue
            if table not in before:
                self._refill(table, columns)
                continue
            for column in columns:
                if column not in before[table]:
                    self._refill_column(table, column)

    def _refill(self, table: str, columns: tuple[str, ...]) -> None:
        retired = self._find(Kind.TABLE, table, table, self._declared(table), columns)
        if retired is None:
            return
        revive.put_back_table(self._archives, self._quarantine, retired.place, table, columns)
        self._forgive(table, columns)
        self._done(Act(revives=(retired,)))
        self._follow(lambda r: following.table_revived(r, retired.place, table, self.quote_name))

    def _refill_column(self, table: str, column: str) -> None:
        key = self._archives.key(table)
        definition = _BY_HAND + self._declared(table, column)
        retired = self._find(Kind.COLUMN, table, column, definition, (*key, VALUE))
        if retired is None:
            return
        revive.put_back(self._archives, table, column, retired.place, key)
        revive.settle(self._archives, self._quarantine, table, column, retired.place, key)
        self._forgive(table, (column,))
        self._done(Act(revives=(retired,)))
        self._column_revived(table, column, retired.place)


def editor_class(stock: type[DatabaseSchemaEditor]) -> type[OwnCodeEditor]:
    """Return the editor over whatever editor the project's engine has (SpatiaLite and others)."""
    if issubclass(OwnCodeEditor, stock):
        return OwnCodeEditor
    return type("OwnCodeEditor", (OwnCodeEditor, stock), {})
