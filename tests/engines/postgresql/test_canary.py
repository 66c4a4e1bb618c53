"""The lock canary measures what others wait, table by table, for readers and writers apart."""

from __future__ import annotations

import time

import psycopg
import pytest

from segue.core.evidence import Blocked
from tests.project import Project

pytestmark = pytest.mark.watched

HOLD_SECONDS = 0.3


@pytest.fixture
def shop(project: Project) -> Project:
    project.sql("CREATE TABLE book (id integer PRIMARY KEY, title text)")
    project.sql("CREATE TABLE author (id integer PRIMARY KEY)")
    return project


def _measured(project: Project, statement: str) -> dict[str, Blocked]:
    """What the canary finds while another session holds what the statement takes."""
    with project.session().engine.canary(("book", "author")) as canary, project.connect("holder") as holder:
        canary.wait()
        holder.execute(statement)
        time.sleep(HOLD_SECONDS)
        holder.commit()
        _wait_for_waiters(holder)
    return {found.table: found for found in canary.blocked()}


def _wait_for_waiters(holder: psycopg.Connection) -> None:
    """Leave the probes that waited the time to say so."""
    time.sleep(0.2)
    holder.rollback()


def test_an_exclusive_lock_is_measured_for_readers_and_for_writers(shop: Project) -> None:
    found = _measured(shop, "LOCK TABLE book IN ACCESS EXCLUSIVE MODE")

    book = found["book"]
    assert book.readers_seconds > HOLD_SECONDS / 2
    assert book.writers_seconds > HOLD_SECONDS / 2
    assert book.longest_ms > HOLD_SECONDS * 1000 / 2
    assert book.probes > 0


def test_a_plain_create_index_is_measured_for_writers_only(shop: Project) -> None:
    found = _measured(shop, "CREATE INDEX book_title ON book (title)")

    assert found["book"].writers_seconds > HOLD_SECONDS / 2
    assert found["book"].readers_seconds < found["book"].writers_seconds / 2


def test_the_wait_on_one_table_is_not_put_down_to_another(shop: Project) -> None:
    found = _measured(shop, "LOCK TABLE book IN ACCESS EXCLUSIVE MODE")

    assert found["author"].readers_seconds < found["book"].readers_seconds
    assert found["author"].writers_seconds < found["book"].writers_seconds


def test_a_table_that_does_not_exist_is_not_reported(shop: Project) -> None:
    with shop.session().engine.canary(("book", "no_such_table")) as canary:
        canary.wait()
        time.sleep(0.2)

    assert [found.table for found in canary.blocked()] == ["book"]
