"""Sets the stage: the server, its databases, and what VILLEN 1.0.0 had in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg

from segue.demo.commands import run_command
from segue.demo.project import Side
from segue.engines.postgresql.server import Server

SERVER_SETTINGS = {"shared_buffers": "256MB", "max_connections": "50"}
Say = Callable[[str], None]


def start_server(folder: Path) -> Server:
    """Start the demo's PostgreSQL in a folder of its own below the demo's folder."""
    # The server may run as another user than the demo: it must be able to pass through to its own folder.
    folder.chmod(0o711)
    return Server.start(folder / "postgresql", settings=SERVER_SETTINGS)


def make_side(server: Server, *, name: str, settings: str, project: Path, folder: Path) -> Side:
    """Create an empty database and the folder for the records of one side."""
    server.create_database(name)
    records = folder / name
    records.mkdir()
    return Side(name=name, settings=settings, url=server.url(name), project=project, folder=records)


def prepare(side: Side, *, users: int, say: Say) -> None:
    """Bring a side to 1.0.0: its schema, `users` listeners and as many songs, fresh statistics."""
    side.write_old_code()
    migrate = side.manage("migrate", "--no-input", "--skip-checks")
    run_command(side, migrate, title="migrate", while_waiting=say, version="old")
    seed = side.manage("seed_catalogue", "--users", str(users), "--songs", str(users))
    run_command(side, seed, title="seed", while_waiting=say)
    with psycopg.connect(side.url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def migrate_fully(side: Side, *, say: Say) -> None:
    """Let stock Django make the newest schema in an empty database."""
    run_command(side, side.manage("migrate", "--no-input", "--skip-checks"), title="migrate", while_waiting=say)


def server_version(server: Server) -> str:
    """The server's version, as it says."""
    with psycopg.connect(server.url()) as connection:
        return connection.info.parameter_status("server_version") or ""
