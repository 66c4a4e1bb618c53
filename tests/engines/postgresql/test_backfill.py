"""A backfill does what one UPDATE does, in batches that hold nobody up, and can be gone on with anywhere."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.test.utils import override_settings

from segue.core.change import Act, Backfill
from segue.core.errors import LockNotTaken, NeedsPerson, StepFailed
from segue.core.event import EventKind
from segue.core.run import UNFILLED, Filled
from segue.engines.base import Engine, Waited
from segue.engines.postgresql import backfill, pace
from segue.journal import Journal
from segue.session import open_session
from tests.project import Project

ROWS = 2000
FILL = Backfill(table="song", assignments='"ms" = "seconds" * 1000', where='"ms" IS NULL')
LEFT = "SELECT count(*) FROM song WHERE ms IS DISTINCT FROM seconds * 1000"


@pytest.fixture
def songs(project: Project) -> Project:
    """A table of some 40 blocks, whose new column is empty."""
    _make(project, "id integer PRIMARY KEY, seconds integer NOT NULL, ms bigint, plays integer DEFAULT 0, filler text")
    return project


@pytest.fixture
def one_block_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch is one block, and each is said and noted."""
    monkeypatch.setattr(pace, "FIRST_BLOCKS", 1)
    monkeypatch.setattr(pace, "MOST_BLOCKS", 1)
    monkeypatch.setattr(pace, "NOTE_EVERY_SECONDS", 0)
    monkeypatch.setattr(pace, "NOTE_EVERY_SHARE", 0)
    monkeypatch.setattr(backfill, "SAY_EVERY_SECONDS", 0)


def _make(project: Project, columns: str, more: str = "") -> None:
    project.sql(f"CREATE TABLE song ({columns}) {more}")
    project.sql(
        f"INSERT INTO song (id, seconds, filler) SELECT n, n % 300, repeat('x', 100) FROM generate_series(1, {ROWS}) n"
    )


def _engine(**settings: timedelta) -> Engine:
    with override_settings(SEGUE={"LOCK_DEADLINE": timedelta(seconds=20), **settings}):
        return open_session("default").engine


def _fill(
    work: Backfill = FILL,
    *,
    since: Filled = UNFILLED,
    note: Callable[[Filled], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    **settings: timedelta,
) -> list[Waited]:
    engine = _engine(**settings)
    ended: list[Waited] = []
    with engine.hold(lambda _: None):
        engine.carry_out(Act(backfill=work), then=ended.append, say=say, since=since, note=note)
    return ended


def _blocks(project: Project, table: str = "song") -> int:
    rows = project.sql("SELECT pg_relation_size(%s) / current_setting('block_size')::int", [table])
    return int(rows[0][0])


# The same as one UPDATE


TABLES = {
    "with a primary key": ("id integer PRIMARY KEY, seconds integer, ms bigint, filler text", ""),
    "without a key": ("id integer, seconds integer, ms bigint, filler text", ""),
    "with a composite key": ("id integer, seconds integer, ms bigint, filler text, PRIMARY KEY (seconds, id)", ""),
    "with an index on the new column": ("id integer, seconds integer, ms bigint UNIQUE, filler text", ""),
    "with little room left in a block": ("id integer, seconds integer, ms bigint, filler text", "WITH (fillfactor=95)"),
}


@pytest.mark.parametrize(("columns", "more"), TABLES.values(), ids=TABLES)
def test_a_backfill_does_what_one_update_does(project: Project, columns: str, more: str) -> None:
    unique = "UNIQUE" in columns
    work = FILL if not unique else Backfill(table="song", assignments="ms = id * 1000", where="ms IS NULL")
    _make(project, columns, more)
    project.sql("UPDATE song SET ms = -id WHERE id % 7 = 0")
    project.sql("CREATE TABLE by_one_update AS SELECT * FROM song")
    project.sql(f"UPDATE by_one_update SET {work.assignments} WHERE {work.where}")

    ended = _fill(work)

    both = "(TABLE song EXCEPT ALL TABLE by_one_update) UNION ALL (TABLE by_one_update EXCEPT ALL TABLE song)"
    assert project.sql(both) == []
    assert project.sql("SELECT count(*) FROM song") == [(ROWS,)]
    assert ended == [Waited(attempts=1, seconds=0.0)]


def test_a_table_without_rows_is_filled_at_once(project: Project) -> None:
    project.sql("CREATE TABLE song (seconds integer, ms bigint)")

    assert _fill() == [Waited()]


def test_rows_that_need_nothing_are_not_touched(songs: Project) -> None:
    songs.sql("UPDATE song SET ms = -1 WHERE id <= 500")
    before = songs.sql("SELECT id, xmin::text, ctid::text FROM song WHERE ms = -1 ORDER BY id")

    _fill()

    assert songs.sql("SELECT id, xmin::text, ctid::text FROM song WHERE ms = -1 ORDER BY id") == before


def test_a_table_of_any_name_is_filled(project: Project) -> None:
    project.sql('CREATE TABLE "Größe, 100 %" (id integer, "select" integer)')
    project.sql('INSERT INTO "Größe, 100 %%" SELECT n FROM generate_series(1, 100) n', [])

    _fill(Backfill(table="Größe, 100 %", assignments='"select" = id % 7', where='"select" IS NULL'))

    assert project.sql('SELECT count(*) FROM "Größe, 100 %" WHERE "select" = id % 7') == [(100,)]


def test_each_partition_of_a_partitioned_table_is_filled(project: Project) -> None:
    project.sql("CREATE TABLE song (id integer, seconds integer, ms bigint, filler text) PARTITION BY RANGE (id)")
    project.sql("CREATE TABLE early PARTITION OF song FOR VALUES FROM (0) TO (500)")
    project.sql('CREATE TABLE "Late ones" PARTITION OF song FOR VALUES FROM (500) TO (9000) PARTITION BY HASH (id)')
    project.sql('CREATE TABLE odd PARTITION OF "Late ones" FOR VALUES WITH (MODULUS 2, REMAINDER 0)')
    project.sql('CREATE TABLE "E ven" PARTITION OF "Late ones" FOR VALUES WITH (MODULUS 2, REMAINDER 1)')
    project.sql("INSERT INTO song (id, seconds) SELECT n, n FROM generate_series(1, 2000) n")

    _fill()

    assert project.sql(LEFT) == [(0,)]
    assert project.sql("SELECT count(*) FROM song") == [(2000,)]


# Beside others


@pytest.mark.usefixtures("one_block_a_batch")
def test_between_two_batches_nothing_is_held(songs: Project) -> None:
    with songs.connect("watcher") as watcher:
        watcher.autocommit = True
        held: list[Any] = []

        def look(_: str) -> None:
            held.extend(watcher.execute("SELECT mode FROM pg_locks WHERE relation = 'song'::regclass").fetchall())
            watcher.execute("UPDATE song SET plays = plays + 1 WHERE ms IS NOT NULL")

        _fill(say=look)

    assert held == []
    assert songs.sql(LEFT) == [(0,)]


def test_what_two_writers_write_meanwhile_is_kept(songs: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MOST_BLOCKS", 2)
    songs.sql(
        "CREATE FUNCTION keep_true() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.ms := NEW.seconds * 1000; RETURN NEW; END $$"
    )
    songs.sql("CREATE TRIGGER twin BEFORE INSERT OR UPDATE ON song FOR EACH ROW EXECUTE FUNCTION keep_true()")
    acknowledged: list[dict[int, tuple[int, int]]] = [{}, {}]
    is_over = threading.Event()

    def write(number: int) -> None:
        mine, turn = acknowledged[number], 0
        with songs.connect(f"writer {number}") as writer:
            while not is_over.is_set() or turn < 50:
                turn += 1
                old, new = turn * 37 % (ROWS // 2) * 2 + number + 1, ROWS + turn * 2 + number
                writer.execute("UPDATE song SET seconds = %s, plays = %s WHERE id = %s", [turn, turn, old])
                writer.execute("INSERT INTO song (id, seconds, plays) VALUES (%s, %s, %s)", [new, turn, turn])
                writer.commit()
                mine |= {old: (turn, turn), new: (turn, turn)}

    writers = [threading.Thread(target=write, args=[number]) for number in (0, 1)]
    for writer in writers:
        writer.start()
    _fill()
    left = songs.sql(LEFT)
    is_over.set()
    for writer in writers:
        writer.join()

    assert left == [(0,)]
    assert songs.sql(LEFT) == [(0,)]
    found = {key: (seconds, plays) for key, seconds, plays in songs.sql("SELECT id, seconds, plays FROM song")}
    for mine in acknowledged:
        assert {key: found[key] for key in mine} == mine


@contextmanager
def _row_held(project: Project, key: int) -> Iterator[psycopg.Connection[Any]]:
    with project.connect("a long edit") as holder:
        holder.execute("SELECT * FROM song WHERE id = %s FOR UPDATE", [key])
        yield holder
        holder.rollback()


def test_a_row_that_somebody_holds_delays_only_its_block(songs: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "SAY_EVERY_SECONDS", 1000)
    said: list[str] = []
    left: list[Any] = []
    [(place, in_its_block)] = songs.sql(
        "SELECT (SELECT split_part(ctid::text, ',', 1) FROM song WHERE id = 777), count(*) FROM song "
        "WHERE split_part(ctid::text, ',', 1) = (SELECT split_part(ctid::text, ',', 1) FROM song WHERE id = 777)"
    )

    with _row_held(songs, 777) as holder:

        def release(text: str) -> None:
            said.append(text)
            left.extend(songs.sql("SELECT DISTINCT split_part(ctid::text, ',', 1) FROM song WHERE ms IS NULL"))
            holder.rollback()

        ended = _fill(say=release)

    assert left == [(place,)]
    assert said == [f"fill song: rows left for pass 2: {in_its_block}"]
    assert songs.sql(LEFT) == [(0,)]
    assert ended[0].attempts > 1
    assert ended[0].seconds > 0


def test_a_row_that_is_never_free_is_given_up_naming_who_may_hold_it(songs: Project) -> None:
    with _row_held(songs, 777) as holder, pytest.raises(LockNotTaken) as caught:
        pid = holder.info.backend_pid
        _fill(LOCK_DEADLINE=timedelta(seconds=1))

    assert re.fullmatch(
        r"A row of song was not free for \d+ s\. It may be held by: "
        rf'pid {pid} "a long edit" idle in transaction for \d+ s: '
        r"SELECT \* FROM song WHERE id = \$1 FOR UPDATE\.",
        str(caught.value),
    ), str(caught.value)
    assert songs.sql("SELECT id FROM song WHERE ms IS NULL AND id = 777") == [(777,)]


def test_a_batch_that_takes_too_long_is_done_in_smaller_ones(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "LIMIT_SECONDS", 0.05)
    project.sql("CREATE TABLE song (id integer, seconds integer, ms bigint, filler text)")
    project.sql("ALTER TABLE song ALTER filler SET STORAGE PLAIN")
    project.sql("INSERT INTO song SELECT n, n, NULL, repeat('x', 3000) FROM generate_series(1, 8) n")
    project.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.04); RETURN NEW; END $$"
    )
    project.sql("CREATE TRIGGER slow BEFORE UPDATE ON song FOR EACH ROW EXECUTE FUNCTION slow()")

    _fill()

    assert project.sql(LEFT) == [(0,)]


@pytest.mark.usefixtures("one_block_a_batch")
def test_triggers_can_tell_a_backfill_by_its_marker(songs: Project) -> None:
    songs.sql("CREATE TABLE heard (marker text)")
    songs.sql(
        "CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO heard VALUES (current_setting('segue.backfill', true)); RETURN NEW; END $$"
    )
    songs.sql("CREATE TRIGGER hear BEFORE UPDATE ON song FOR EACH ROW EXECUTE FUNCTION hear()")

    _fill()
    songs.sql("UPDATE song SET plays = 1 WHERE id = 1")

    assert songs.sql("SELECT marker, count(*) FROM heard GROUP BY 1 ORDER BY 1") == [("", 1), ("on", ROWS)]


def test_settings_of_a_backfill_end_with_it(songs: Project) -> None:
    names = ("default_transaction_isolation", "lock_timeout", "statement_timeout", "synchronous_commit")
    settings = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
    before = songs.sql(settings, [list(names)])

    _fill()

    assert songs.sql(settings, [list(names)]) == before


# How far it is


@pytest.mark.usefixtures("one_block_a_batch")
def test_it_says_and_notes_how_far_it_is(songs: Project) -> None:
    said: list[str] = []
    noted: list[Filled] = []
    blocks = _blocks(songs)

    _fill(say=said.append, note=noted.append)

    assert [filled.block for filled in noted] == list(range(1, blocks + 1))
    assert {(filled.part, filled.passes) for filled in noted} == {('"song"', 0)}
    assert noted[-1].rows == ROWS
    assert len(said) == blocks + 1
    assert re.fullmatch(r"fill song: 2,000 rows, 100 %, [\d,]+ rows/s, about 0 s left", said[-2]), said[-2]
    assert said[-1] == "fill song: counting the rows that are left"


@pytest.mark.usefixtures("one_block_a_batch")
def test_an_interrupted_backfill_goes_on_where_it_was(songs: Project) -> None:
    def stop_at_ten(filled: Filled) -> None:
        noted.append(filled)
        if filled.block == 10:
            raise KeyboardInterrupt

    noted: list[Filled] = []
    with pytest.raises(KeyboardInterrupt):
        _fill(note=stop_at_ten)
    left = songs.sql("SELECT count(*) FROM song WHERE ms IS NULL")
    further: list[Filled] = []

    _fill(since=noted[-1], note=further.append)

    assert left == [(ROWS - noted[-1].rows,)]
    assert further[0].block == 11
    assert further[-1].rows == ROWS
    assert songs.sql(LEFT) == [(0,)]


@pytest.mark.usefixtures("one_block_a_batch")
def test_partitions_that_are_done_are_not_walked_again(project: Project) -> None:
    project.sql("CREATE TABLE song (id integer, seconds integer, ms bigint) PARTITION BY RANGE (id)")
    for number in (0, 1, 2):
        project.sql(f"CREATE TABLE part_{number} PARTITION OF song FOR VALUES FROM ({number}000) TO ({number + 1}000)")
    project.sql("INSERT INTO song (id, seconds) SELECT n, n FROM generate_series(0, 2999) n")
    project.sql("UPDATE part_0 SET ms = seconds * 1000")
    noted: list[Filled] = []

    _fill(since=Filled(part="public.part_1", block=2, rows=1000), note=noted.append)

    assert (noted[0].part, noted[0].block) == ("public.part_1", 3)
    assert {filled.part for filled in noted if filled.passes == 0} == {"public.part_1", "public.part_2"}
    assert project.sql(LEFT) == [(0,)]


def test_progress_reaches_the_ledger_with_the_next_event(project: Project) -> None:
    written: list[bytes] = []

    class Store:
        def write(self, key: str, data: bytes) -> None:
            written.append(data)

    journal = Journal(connections["default"], Store())
    journal.ensure()
    journal.append("r1", EventKind.RELEASE_STARTED)
    journal.append("r1", EventKind.BACKFILL_PROGRESS, id="fill", filled=UNFILLED)
    journal.append("r1", EventKind.BACKFILL_PROGRESS, id="fill", filled=UNFILLED)
    before = [data.count(b"\n") for data in written]
    journal.append("r1", EventKind.RELEASE_OPENED)

    assert before == [1]
    assert [data.count(b"\n") for data in written] == [1, 4]


def test_where_it_was_is_no_promise_that_what_came_before_is_done(
    songs: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "SAY_EVERY_SECONDS", 1000)
    said: list[str] = []

    _fill(since=Filled(part='"song"', block=_blocks(songs)), say=said.append)

    assert said == ["fill song: rows left for pass 2: 2,000"]
    assert songs.sql(LEFT) == [(0,)]


# What cannot be done


def test_a_condition_that_stays_true_is_an_error_and_no_endless_loop(songs: Project) -> None:
    work = Backfill(table="song", assignments="ms = 1", where="plays >= 0")

    with pytest.raises(StepFailed) as caught:
        _fill(work)

    assert str(caught.value) == (
        "2,000 rows of song are left after 4 passes, because plays >= 0 stays true of them or becomes so again."
    )


def test_a_row_that_cannot_be_changed_is_an_error_that_names_its_table(songs: Project) -> None:
    work = Backfill(table="song", assignments="ms = substr(filler, 1, 3)::integer", where="ms IS NULL")

    with pytest.raises(StepFailed) as caught:
        _fill(work)

    assert str(caught.value) == 'A row of song cannot be filled: invalid input syntax for type integer: "xxx"'


@pytest.mark.usefixtures("one_block_a_batch")
def test_a_lost_connection_needs_the_same_command_again(songs: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "NOTE_EVERY_SECONDS", 100)
    pid = connections["default"].connection.info.backend_pid

    def cut(_: str) -> None:
        with songs.connect("an operator") as operator:
            operator.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    with pytest.raises(NeedsPerson) as caught:
        _fill(say=cut)
    connections["default"].close()

    assert caught.value.message == (
        'The connection to database "default" was lost: terminating connection due to administrator command. The '
        "journal knows every step that was done; nothing is lost."
    )
    assert 0 < songs.sql("SELECT count(*) FROM song WHERE ms IS NOT NULL")[0][0] < ROWS
