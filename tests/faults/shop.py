"""A release of three migrations over two tables in use, and what must hold of it whatever happened.

Owns the database's resets (copies of one that is prepared once) and the questions that every fault test ends with.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

import psycopg
from django.db import connections, migrations, models
from django.db.migrations.operations.base import Operation

from segue.journal import Journal
from tests.project import Project

ROWS = 300

_ID = ("id", models.BigAutoField(primary_key=True))
FIRST = [
    migrations.CreateModel("Book", [_ID, ("title", models.CharField(max_length=50))]),
    migrations.CreateModel("Reader", [_ID, ("name", models.CharField(max_length=50))]),
]
SECOND = [
    migrations.AddField("book", "language", models.CharField(max_length=10, default="en")),
    migrations.AddField("book", "note", models.TextField(null=True)),
    migrations.AddIndex("book", models.Index(fields=["language", "title"], name="book_language")),
]
THIRD = [
    migrations.CreateModel(
        "Loan",
        [
            _ID,
            ("days", models.IntegerField(default=14)),
            ("book", models.ForeignKey("shop.Book", models.CASCADE)),
            ("reader", models.ForeignKey("shop.Reader", models.CASCADE)),
            ("extras", models.ManyToManyField("shop.Book", related_name="extra_loans")),
        ],
        options={"indexes": [models.Index(fields=["days"], name="loan_days")]},
    )
]
FOURTH = [migrations.AddField("reader", "favourite", models.ForeignKey("shop.Book", models.SET_NULL, null=True))]

# What the release's new code writes, each with the table and the column that it needs.
_NEW_CODE = (
    ("shop_book", "language", "UPDATE shop_book SET language = 'hi' WHERE id % 3 = 0"),
    ("shop_book", "note", "UPDATE shop_book SET note = 'note ' || id WHERE id % 5 = 0"),
    ("shop_loan", "days", "INSERT INTO shop_loan (days, book_id, reader_id) SELECT id, id, id FROM shop_book"),
    (
        "shop_loan_extras",
        "loan_id",
        "INSERT INTO shop_loan_extras (loan_id, book_id) SELECT id, book_id FROM shop_loan WHERE days <= 50 "
        "ON CONFLICT DO NOTHING",
    ),
    ("shop_reader", "favourite_id", "UPDATE shop_reader SET favourite_id = id WHERE id % 7 = 0"),
)

Contents = dict[str, dict[int, dict[str, Any]]]


class Shop:
    """The project at its first migration, with rows; the other migrations wait to be applied."""

    migrations: ClassVar[tuple[list[Operation], ...]] = (FIRST, SECOND, THIRD, FOURTH)
    atomic: ClassVar[bool] = True

    def __init__(self, project: Project) -> None:
        self.project = project
        self.names = [project.migration(*operations, atomic=self.atomic) for operations in self.migrations]
        project.live(self.names[0])
        project.stock()
        for table, column in (("shop_book", "title"), ("shop_reader", "name")):
            project.sql(f"INSERT INTO {table} ({column}) SELECT '{column} ' || n FROM generate_series(1, {ROWS}) n")
        self._copy = f"{self._name}_prepared"
        self._copied(self._name, self._copy)

    # Resets

    @property
    def _name(self) -> str:
        return str(connections["default"].settings_dict["NAME"])

    def reset(self) -> None:
        """Bring the database back to the first migration and its rows."""
        self._copied(self._copy, self._name)

    def prepare(self) -> None:
        """Let resets bring back what the database is now."""
        self._copied(self._name, self._copy)

    def close(self) -> None:
        """Drop the copy that resets are made from."""
        self.project.server.drop_database(self._copy)

    def _copied(self, source: str, target: str) -> None:
        """Copy a database in the place of another.

        A copied sequence writes no WAL for its next values until a checkpoint has passed, so a crash would take them
        back and the next keys would collide. A database that nobody copied has no such gap, and neither has one whose
        files are copied: that ends with a checkpoint.
        """
        self.disconnect()
        self.project.server.drop_database(target)
        with psycopg.connect(self.project.server.url(), autocommit=True) as connection:
            # A killed command's own watchers may be connected for another moment, and would be in the copy's way.
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [source])
        self.project.server.create_database(target, template=source)

    def disconnect(self) -> None:
        """Close this process's own connections, so that neither a copy nor a child meets them."""
        for alias in ("default", "stock"):
            connections[alias].close()

    # What code does meanwhile

    def write_as_new_code(self) -> Contents:
        """Write through whatever of the release is there already; return what the tables hold then."""
        for table, column, statement in _NEW_CODE:
            if self.project.sql(
                "SELECT 1 FROM information_schema.columns WHERE table_name = %s AND column_name = %s", [table, column]
            ):
                self.project.sql(statement)
        return self.contents()

    def write_as_old_code(self) -> None:
        """Insert and select as code does that knows only the first migration."""
        for name, values in (("Book", {"title": "by old code"}), ("Reader", {"name": "by old code"})):
            model = self.project.model(name, at=self.names[0])
            made = model.objects.create(**values)
            assert model.objects.filter(pk=made.pk, **values).count() == 1
            made.delete()

    # What must hold

    def contents(self) -> Contents:
        """Return every row of every table of the shop, by table and primary key."""
        tables = self.project.sql("SELECT relname FROM pg_class WHERE relname LIKE 'shop\\_%%' AND relkind = 'r'", [])
        return {
            table: {
                key: json.loads(row) for key, row in self.project.sql(f"SELECT id, to_json(t)::text FROM {table} t")
            }
            for table in sorted(name for (name,) in tables)
        }

    def lost(self, before: Contents) -> list[str]:
        """Return what is not as it was, one sentence a row: values that changed, rows that went or came."""
        now = self.contents()
        found = []
        for table, rows in before.items():
            for key, row in rows.items():
                there = now.get(table, {}).get(key)
                if there is None or not row.items() <= there.items():
                    found.append(f"{table} {key} was {row} and is {there}")
            found += [f"{table} {key} was not there" for key in now.get(table, {}).keys() - rows.keys()]
        return found

    def left_behind(self) -> list[str]:
        """Return what no interruption may leave: INVALID indexes, constraints that are not validated, helpers."""
        questions = {
            "INVALID index": "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid OR NOT indisready",
            "NOT VALID constraint": "SELECT conname FROM pg_constraint WHERE NOT convalidated",
            "helping constraint": "SELECT conname FROM pg_constraint WHERE conname LIKE '%segue%' AND contype <> 'n' "
            "AND conrelid::regclass::text NOT LIKE 'segue%'",
            "trigger": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
            "orphan in quarantine": "SELECT row::text FROM segue_quarantine",
        }
        return [f"{what} {name}" for what, sql in questions.items() for (name,) in self.project.sql(sql)]

    def unsettled(self) -> list[str]:
        """Return the releases that the journal says are still under way."""
        run = Journal(connections["default"]).under_way()
        return [f"{run.release} is {run.state}"] if run else []

    def applied(self) -> list[str]:
        """Return the shop's migrations that are recorded, in the order of their names."""
        rows = self.project.sql("SELECT name FROM django_migrations WHERE app = 'shop' ORDER BY name")
        return [name for (name,) in rows]

    def kinds(self) -> list[str]:
        """Return the kinds of the journal's events, oldest first."""
        return [kind for (kind,) in self.project.sql("SELECT kind FROM segue_event ORDER BY id")]

    def last_event(self) -> str:
        """Return the journal's last event in words: its kind, and its step where it has one."""
        rows = self.project.sql(
            "SELECT kind, coalesce(data #>> '{step,title}', data ->> 'id', '') FROM segue_event "
            "ORDER BY id DESC LIMIT 1"
        )
        return " ".join(rows[0]).strip()

    def troubles_of_the_finished(self, before: Contents) -> list[str]:
        """Return what is wrong once the release is finalized; `before` is what the tables held."""
        wrong = [*self.lost(before), *self.left_behind(), *self.unsettled(), *self.project.differences()]
        if self.applied() != self.names:
            wrong.append(f"recorded as applied: {self.applied()}")
        return wrong

    def troubles_of_the_undone(self, before: Contents) -> list[str]:
        """Return what is wrong once the release is rolled back: old code must work, and no value may be gone."""
        wrong = [*self.lost(before), *self.left_behind(), *self.unsettled()]
        if self.applied() != self.names[:1]:
            wrong.append(f"recorded as applied: {self.applied()}")
        self.write_as_old_code()
        return wrong
