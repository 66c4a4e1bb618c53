"""The names that PostgreSQL gives to unnamed constraints, compared with those that it really gives."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from segue.engines.postgresql.editor.implicit import object_name
from segue.engines.postgresql.server import Server

NAMES = [
    ("a", "b"),
    ("t" * 40, "c" * 40),
    ("t" * 60, "c" * 3),
    ("t" * 3, "c" * 60),
    ("é" * 20, "c" * 30),
    ("té" * 10, "é" * 30),
    ("a" + "é" * 30, "日本" * 10),
    ("With Spaces", 'and "quotes"'),
]


@pytest.mark.parametrize(("table", "column"), NAMES, ids=range(len(NAMES)))
def test_a_long_name_is_cut_byte_by_byte_as_postgresql_does(server: Server, table: str, column: str) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}
        connection.execute(sql.SQL("CREATE TEMPORARY TABLE {table} (id integer PRIMARY KEY)").format(**names))
        add = "ALTER TABLE {table} ADD COLUMN {column} integer GENERATED ALWAYS AS IDENTITY UNIQUE CHECK ({column} > 0)"
        connection.execute(sql.SQL(add).format(**names))

        made = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind IN ('S', 'i') "
            "UNION SELECT conname FROM pg_constraint WHERE connamespace = pg_my_temp_schema() AND contype = 'c'"
        ).fetchall()

    expected = {object_name([table, column], label) for label in ("key", "check", "seq")} | {
        object_name([table], "pkey")
    }
    assert {name for (name,) in made} == expected
