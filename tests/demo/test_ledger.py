"""The ledger of acknowledged writes: what counts, what is forgotten, what reads as lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from segue.demo.ledger import acknowledged, compare, read
from segue.demo.record import Entry, RecordReader, Row
from segue.engines.postgresql.server import Server


def entry(at: float, *, is_new: bool = False, failure: str | None = None, pk: int = 1, **values: Any) -> Entry:
    row = Row(table="song", pk=pk, values=values, is_new=is_new)
    return Entry(due_at=at, latency_ms=1, request="write", failure=failure, rows=(row,))


def test_the_last_acknowledged_value_of_a_cell_counts() -> None:
    ledger = acknowledged([entry(2, title="second"), entry(1, title="first", artist="VILLEN")])

    assert ledger.rows == {("song", 1): {"title": "second", "artist": "VILLEN"}}


def test_a_write_that_failed_makes_its_cells_unknown_until_the_next_one() -> None:
    written = [entry(1, title="first", artist="VILLEN"), entry(2, failure="OperationalError", title="second")]

    assert acknowledged(written).rows == {("song", 1): {"artist": "VILLEN"}}
    assert acknowledged([*written, entry(3, title="third")]).rows["song", 1]["title"] == "third"


def test_a_value_that_is_not_there_any_more_is_lost() -> None:
    ledger = acknowledged([entry(1, title="first", artist="VILLEN"), entry(1, pk=2, title="other")])

    comparison = compare(ledger, {("song", 1): {"title": "first", "artist": "nobody"}})

    assert comparison.compared == 3
    assert comparison.lost == (
        "song.artist of row 1 was 'VILLEN'; now 'nobody'",
        "song.title of row 2 was 'other'; the row is gone",
    )


def test_a_row_whose_number_is_given_out_again_is_lost() -> None:
    ledger = acknowledged([entry(1, is_new=True, title="first"), entry(2, is_new=True, title="second")])

    comparison = compare(ledger, {("song", 1): {"title": "second"}})

    assert comparison.compared == 2
    assert comparison.lost == ("song.title of row 1 was 'first'; another row has its number",)


def test_a_record_gives_each_whole_line_once(tmp_path: Path) -> None:
    path = tmp_path / "client.jsonl"
    reader = RecordReader(path)
    first, second = entry(1, title="first"), entry(2, title="second")

    assert list(reader.new_entries()) == []
    path.write_text(first.to_line() + second.to_line()[:10])
    assert list(reader.new_entries()) == [first]
    path.write_text(first.to_line() + second.to_line())
    assert list(reader.new_entries()) == [second]


@pytest.fixture(scope="module")
def connection() -> Iterator[psycopg.Connection]:
    with Server.temporary() as server, psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE song (id int, title text, properties jsonb, released_on date)")
        connection.execute("INSERT INTO song VALUES (1, 'first', '{\"b\": 1, \"a\": [2]}', '2024-05-01')")
        yield connection


def test_values_read_from_the_table_equal_those_that_were_acknowledged(
    connection: psycopg.Connection,
) -> None:
    written = entry(1, title="first", properties={"a": [2], "b": 1}, released_on="2024-05-01")
    ledger = acknowledged([Entry.from_line(written.to_line())])

    comparison = compare(ledger, read(connection, ledger.rows))

    assert (comparison.compared, comparison.lost) == (3, ())


def test_values_in_a_column_that_was_dropped_are_lost(connection: psycopg.Connection) -> None:
    ledger = acknowledged([entry(1, title="first", genre="ghazal")])

    comparison = compare(ledger, read(connection, ledger.rows))

    assert comparison.compared == 2
    assert comparison.lost == ("song.genre of row 1 was 'ghazal'; now absent",)
