"""The shop that the fault tests break, on the session's server and on one that may be stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from segue.engines.postgresql import PostgreSQL, canary
from segue.engines.postgresql.server import Server
from tests.faults import child
from tests.faults.shop import Shop
from tests.project import Project


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the canary's processes out: they measure and change nothing, and hundreds of them take minutes."""
    monkeypatch.setattr(PostgreSQL, "canary", lambda engine, _: canary.watching(engine.connect, ()))


@pytest.fixture(autouse=True)
def no_command_left() -> Iterator[None]:
    """Kill the commands that a failed test has left behind."""
    yield
    child.end_all()


@pytest.fixture
def shop(project: Project) -> Iterator[Shop]:
    """The shop on the session's server."""
    made = Shop(project)
    yield made
    made.close()


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Shop]:
    """The shop on a server of its own, which the test may stop as a crash would.

    It flushes what it commits, as a real server does: otherwise a crash could lose what was promised.
    """
    with Server.temporary(settings={"max_connections": "30"}) as server, Project.on(server, tmp_path) as project:
        made = Shop(project)
        yield made
        if server._process is None:
            server.restart()
        made.close()
