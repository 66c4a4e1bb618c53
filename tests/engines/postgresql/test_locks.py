"""Locks are taken politely: nobody queues behind an attempt, and only one run holds a database."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from django.test.utils import override_settings

from segue.core.change import Act, LockMode, TableLock
from segue.core.errors import LockNotTaken, TargetHeld
from segue.engines.base import Engine, Waited
from segue.engines.postgresql import locks
from segue.session import open_session
from tests.project import Project

ACT = Act(
    statements=("ALTER TABLE book ADD COLUMN isbn text",),
    locks=(TableLock(table="book", mode=LockMode.ACCESS_EXCLUSIVE),),
)


@pytest.fixture
def shop(project: Project) -> Project:
    project.sql("CREATE TABLE book (id integer PRIMARY KEY, title text)")
    project.sql("INSERT INTO book VALUES (1, 'Godaan')")
    return project


def _engine(**settings: timedelta) -> Engine:
    with override_settings(SEGUE={"LOCK_DEADLINE": timedelta(seconds=1), **settings}):
        return open_session("default").engine


def _carry_out(engine: Engine, act: Act = ACT, said: list[str] | None = None) -> Waited:
    results: list[Waited] = []
    with engine.hold(lambda _: None):
        engine.carry_out(act, then=results.append, say=(said if said is not None else []).append)
    return results[-1]


@contextmanager
def _held(project: Project, statement: str, name: str) -> Iterator[psycopg.Connection]:
    """A session that holds a table in a transaction, and has for long enough to count as long."""
    with project.connect(name) as session:
        session.execute(statement)
        time.sleep(0.25)
        yield session
        session.rollback()


def _columns(project: Project) -> list[str]:
    rows = project.sql("SELECT attname FROM pg_attribute WHERE attrelid = 'book'::regclass AND attnum > 0 ORDER BY 1")
    return [name for (name,) in rows]


HOLDERS = {
    "a reader": "SELECT * FROM book",
    "a writer": "UPDATE book SET title = 'Nirmala'",
    "what vacuum holds": "LOCK TABLE book IN SHARE UPDATE EXCLUSIVE MODE",
}


@pytest.mark.parametrize("statement", HOLDERS.values(), ids=HOLDERS)
def test_a_lock_that_is_never_free_is_given_up_naming_who_holds_it(shop: Project, statement: str) -> None:
    engine = _engine()

    with _held(shop, statement, "a long report") as holder, pytest.raises(LockNotTaken) as caught:
        pid = holder.info.backend_pid
        _carry_out(engine)

    assert f'pid {pid} "a long report" idle in transaction for ' in str(caught.value)
    assert str(caught.value).endswith(f"s: {statement}.")
    assert _columns(shop) == ["id", "title"]


@pytest.mark.parametrize("statement", HOLDERS.values(), ids=HOLDERS)
def test_a_lock_is_taken_once_the_holder_has_gone(shop: Project, statement: str) -> None:
    engine = _engine(LOCK_DEADLINE=timedelta(seconds=20))
    holder = shop.connect("a long report")
    holder.execute(statement)
    gone = threading.Timer(1.0, holder.close)
    gone.start()

    _carry_out(engine)

    gone.join()
    assert _columns(shop) == ["id", "isbn", "title"]


def test_behind_a_long_transaction_nobody_is_made_to_queue(shop: Project) -> None:
    engine = _engine(LOCK_DEADLINE=timedelta(seconds=2))
    queued: list[str] = []
    ended = threading.Event()

    def watch() -> None:
        with shop.connect("watcher") as watcher:
            watcher.autocommit = True
            while not ended.is_set():
                rows = watcher.execute(
                    "SELECT mode FROM pg_locks WHERE NOT granted AND relation = 'book'::regclass"
                ).fetchall()
                queued.extend(mode for (mode,) in rows)

    watching = threading.Thread(target=watch)
    with _held(shop, "SELECT * FROM book", "a long report"):
        watching.start()
        with pytest.raises(LockNotTaken):
            _carry_out(engine)
        ended.set()
        watching.join()

    assert queued == []


def test_readers_pass_while_a_lock_is_waited_for(shop: Project) -> None:
    engine = _engine(LOCK_DEADLINE=timedelta(seconds=2))
    ended = threading.Event()
    failed: list[psycopg.Error] = []

    def read() -> None:
        with shop.connect("reader") as reader:
            reader.autocommit = True
            reader.execute("SET lock_timeout = '500ms'")
            while not ended.is_set():
                try:
                    reader.execute("SELECT title FROM book")
                except psycopg.Error as error:
                    failed.append(error)

    reading = threading.Thread(target=read)
    with _held(shop, "SELECT * FROM book", "a long report"):
        reading.start()
        with pytest.raises(LockNotTaken):
            _carry_out(engine)
        ended.set()
        reading.join()

    assert failed == []


def test_of_two_runs_the_second_is_told_who_holds_the_database(shop: Project) -> None:
    with shop.connect("the first run") as first:
        pid = first.info.backend_pid
        first.execute("SELECT pg_advisory_lock(%s)", [locks.RUNNER_KEY])
        with pytest.raises(TargetHeld) as caught, _engine(RUNNER_WAIT=timedelta(0)).hold(lambda _: None):
            pass

    assert caught.value.message.startswith(f'Another run holds this database: pid {pid} "the first run" from ')
    assert caught.value.next_command == "wait for it, or end it in its own terminal"


def test_the_database_is_free_again_when_a_run_has_ended(shop: Project) -> None:
    engine = _engine(RUNNER_WAIT=timedelta(0))

    with engine.hold(lambda _: None):
        pass
    with engine.hold(lambda _: None):
        held = shop.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")

    assert held == [(1,)]
    assert shop.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


def test_settings_of_a_step_end_with_it(shop: Project) -> None:
    before = shop.sql("SELECT name, setting FROM pg_settings WHERE name LIKE '%%timeout' ORDER BY 1")

    _carry_out(_engine())

    assert shop.sql("SELECT name, setting FROM pg_settings WHERE name LIKE '%%timeout' ORDER BY 1") == before
