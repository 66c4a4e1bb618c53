"""The throw-away PostgreSQL server."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from segue.engines.postgresql.server import Server, ServerError


def test_a_server_listens_on_one_address_and_leaves_nothing_behind() -> None:
    with Server.temporary() as server, psycopg.connect(server.url()) as connection:
        listens = connection.execute(
            "SELECT current_setting('listen_addresses'), current_setting('unix_socket_directories')"
        ).fetchone()

    assert listens == ("127.0.0.1", "")
    assert not server.folder.exists()


def test_committed_rows_survive_an_immediate_stop() -> None:
    with Server.temporary() as server:
        server.create_database("music box")
        with psycopg.connect(server.url("music box"), autocommit=True) as connection:
            connection.execute("CREATE TABLE song AS SELECT 'first' AS title")
        port = server.port

        server.stop("immediate")
        server.restart()

        assert server.port == port
        with psycopg.connect(server.url("music box")) as connection:
            assert connection.execute("SELECT title FROM song").fetchall() == [("first",)]


def test_a_dropped_database_is_gone_although_it_was_in_use() -> None:
    with Server.temporary() as server:
        server.create_database("song")
        with psycopg.connect(server.url("song")):
            server.drop_database("song")

        with pytest.raises(psycopg.OperationalError, match='database "song" does not exist'):
            psycopg.connect(server.url("song"))


def test_a_server_that_cannot_start_shows_the_end_of_its_log() -> None:
    with pytest.raises(ServerError, match='unrecognized configuration parameter "shared_bufers"'):
        Server.temporary(settings={"shared_bufers": "64MB"})


def test_a_folder_without_postgresql_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEGUE_POSTGRESQL_BIN", str(tmp_path))

    with pytest.raises(ServerError) as caught:
        Server.temporary()

    assert str(caught.value) == (
        f"SEGUE_POSTGRESQL_BIN is {tmp_path}, and there is no initdb in that folder.\n"
        "Next: unset SEGUE_POSTGRESQL_BIN, or name the folder of PostgreSQL's programs"
    )


def test_a_stopped_server_has_no_process_id() -> None:
    with Server.temporary() as server:
        server.stop()

        with pytest.raises(ServerError, match="is stopped; call restart"):
            _ = server.pid
