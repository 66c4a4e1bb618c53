"""SIGKILL anywhere in purge, and in the way back from its archives: the next command completes it, nothing is lost."""

from __future__ import annotations

import itertools
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import migrations, models

from segue.core import archive
from segue.core.run import State
from segue.journal import Journal
from segue.storage.archives import Archives
from tests.faults.child import Strike
from tests.faults.shop import ROWS, Shop
from tests.faults.spawned import Spawner

PURGE = ("purge", "--older-than", "0s")
ROLLBACK = ("rollback",)


class Folder:
    """The store's folder, read without the store's library, whose threads a forked child of another test would lack."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"file://{path}"

    def read(self, key: str) -> bytes | None:
        """Return the object, None where there is none."""
        path = self.path / key
        return path.read_bytes() if path.exists() else None


class Retiring:
    """The shop with a finalized release that removed a column and a table, and one rolled back that added a column."""

    def __init__(self, shop: Shop, store: Path, spawner: Spawner) -> None:
        self.shop = shop
        self.spawner = spawner
        self.store = store
        project = shop.project
        project.apply()
        shop.write_as_new_code()
        project.finalize()
        self.before = shop.contents()
        project.migration(migrations.RemoveField("book", "note"), migrations.DeleteModel("Loan"))
        project.apply()
        project.finalize()
        project.migration(migrations.AddField("reader", "motto", models.TextField(null=True)))
        project.apply()
        project.sql("UPDATE shop_reader SET motto = 'motto ' || id")
        project.rollback()
        self.prepare()

    def prepare(self) -> None:
        """Let resets bring back what the database and the store are now."""
        self.shop.prepare()
        self._copied(self.store, self.store.with_name("prepared"))

    def reset(self) -> None:
        """Bring the database and the store back to what was prepared."""
        self.shop.reset()
        self._copied(self.store.with_name("prepared"), self.store)

    def _copied(self, source: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        source.mkdir(exist_ok=True)
        shutil.copytree(source, target)

    def failure(self, command: tuple[str, ...]) -> list[str]:
        """Run a command; return what is wrong when it does not end well."""
        ended = self.spawner.run(self.store, *command)
        return [] if ended.status == 0 else [f"segue {' '.join(command)} ended with {ended.status}:\n{ended.output}"]

    def troubles(
        self, command: tuple[str, ...], of: str, then: Callable[[], list[str]], *, every: int
    ) -> Iterator[str]:
        """Kill the command at every nth event or object until it ends by itself; yield what is wrong each time."""
        for number in itertools.count(1, every):
            for when in ("before", "after") if every == 1 else [("before", "after")[number // every % 2]]:
                strike = Strike(event=number, when=when, of=of)  # type: ignore[arg-type]
                self.reset()
                ended = self.spawner.run(self.store, *command, strike=strike)
                if ended.signal is None:
                    assert number > 1, f"{strike} did not strike:\n{ended.output}"
                    return
                assert ended.signal == signal.SIGKILL, ended.output
                last = self.shop.last_event()
                yield from (f"{strike}, after which the journal ended with {last}: {wrong}" for wrong in then())

    def purge_and_roll_back(self) -> list[str]:
        """Purge as the next command, roll back then; return what is wrong after each."""
        wrong = self.failure(PURGE) or self.troubles_of_the_purged()
        return wrong or self.failure(ROLLBACK) or self.troubles_of_the_restored()

    def roll_back(self) -> list[str]:
        """Roll back as the next command; return what is wrong then."""
        return self.failure(ROLLBACK) or self.troubles_of_the_restored()

    def troubles_of_the_purged(self) -> list[str]:
        """Return what is wrong after the purge: what is left in the database, archives that are not whole, states."""
        columns = self.shop.project.sql(
            "SELECT attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE attname LIKE 'segue%%' "
            "AND attnum > 0 AND NOT attisdropped AND relname LIKE 'shop%%'",
            [],
        )
        wrong = [f"{name} is left" for (name,) in columns]
        archived = {r.name: self._archived_rows(r.archive) for r in self._journal().cemetery().archived()}
        expected = {
            "note": sum(row["note"] is not None for row in self.before["shop_book"].values()),
            "motto": ROWS,
            "shop_loan": len(self.before["shop_loan"]),
            "shop_loan_extras": len(self.before["shop_loan_extras"]),
        }
        wrong += [] if archived == expected else [f"the archives have {archived}"]
        states = [run.state for run in self._journal().runs()][-2:]
        return wrong if states == [State.PURGED, State.ROLLED_BACK] else [*wrong, f"the releases are {states}"]

    def _archived_rows(self, key: str) -> int:
        archives = Archives(Folder(self.store))  # type: ignore[arg-type]
        manifest = archives.manifest(key)
        assert archive.read(archive.written(manifest)) == manifest
        return sum(part.count(b"\n") for part in archives.rows(manifest))

    def _journal(self) -> Journal:
        return self.shop.project.session().journal

    def troubles_of_the_restored(self) -> list[str]:
        """Return what is wrong once the release is rolled back: every value must be there, nothing left over."""
        wrong = [*self.shop.lost(self.before), *self.shop.left_behind(), *self.shop.unsettled()]
        tables = self.shop.project.sql("SELECT relname FROM pg_class WHERE relname LIKE 'segue\\_archive%%'", [])
        return [*wrong, *(f"{name} is left" for (name,) in tables)]


@pytest.fixture(scope="session")
def spawner() -> Iterator[Spawner]:
    """What the commands are forked from."""
    with Spawner.started() as spawner:
        yield spawner


@pytest.fixture
def retiring(shop: Shop, tmp_path: Path, spawner: Spawner) -> Retiring:
    """The shop with something to purge, and a store."""
    return Retiring(shop, tmp_path / "store", spawner)


@pytest.fixture
def purged(retiring: Retiring) -> Retiring:
    """The shop after its purge."""
    assert retiring.failure(PURGE) == []
    retiring.prepare()
    return retiring


@pytest.mark.parametrize("of", ["event", "object"])
def test_the_next_purge_completes_a_killed_one(retiring: Retiring, of: str) -> None:
    found = [*retiring.troubles(PURGE, of, retiring.purge_and_roll_back, every=8)]

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("of", ["event", "object"])
def test_the_next_purge_completes_one_that_was_killed_anywhere(retiring: Retiring, of: str) -> None:
    found = [*retiring.troubles(PURGE, of, retiring.purge_and_roll_back, every=1)]

    assert found == [], "\n=====".join(found)


def test_the_next_rollback_completes_a_killed_way_back_from_the_archives(purged: Retiring) -> None:
    found = [*purged.troubles(ROLLBACK, "event", purged.roll_back, every=8)]

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
def test_the_next_rollback_completes_a_way_back_that_was_killed_anywhere(purged: Retiring) -> None:
    found = [*purged.troubles(ROLLBACK, "event", purged.roll_back, every=1)]

    assert found == [], "\n=====".join(found)


def test_a_full_disk_stops_the_purge_and_loses_nothing(retiring: Retiring) -> None:
    project = retiring.shop.project
    ((schema,),) = project.sql(
        "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'shop_loan' AND relkind = 'r'"
    )
    # Nothing that compresses: what is archived must not fit.
    noise = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 10) WHERE days IS NOT NULL)"
    project.sql(f"ALTER TABLE {schema}.shop_loan ADD noise text")
    project.sql(f"UPDATE {schema}.shop_loan SET noise = {noise}")

    full = retiring.spawner.run(retiring.store, *PURGE, file_bytes=30_000)
    rows_then = project.sql(f"SELECT count(*) FROM {schema}.shop_loan")

    assert full.status == 8, full.output
    assert "Nothing of table shop_loan was dropped." in full.output
    assert rows_then == [(len(retiring.before["shop_loan"]),)]
    assert retiring.failure(PURGE) == []
    assert retiring.failure(ROLLBACK) == []
    assert retiring.troubles_of_the_restored() == []
