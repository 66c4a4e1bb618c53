"""Where backups, archives, reports and the ledger lie: a folder or an object store, by one URL.

obstore speaks both and takes an object store's credentials from that store's own environment variables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from segue.core.errors import StoreFailed, UsageError


class ObjectStorage:
    """Objects by key in anything that obstore can reach; writing replaces an object whole."""

    def __init__(self, url: str) -> None:
        self.url = url
        options: dict[str, Any] = {"mkdir": True} if url.startswith("file:") else {}
        try:
            self._store = from_url(url, **options)
        except (BaseError, ValueError) as error:
            raise UsageError(
                f'SEGUE["STORE"] is "{url}", and that cannot be opened: {error}',
                next_command="set it to file:///an/absolute/folder or s3://bucket/prefix",
            ) from error

    def write(self, key: str, data: bytes) -> None:
        """Store the object; it is visible only when it is whole. Raises StoreFailed."""
        with self._translated(key, "written"):
            obstore.put(self._store, key, data)

    def keep(self, key: str, data: bytes) -> None:
        """Store the object as `write` does, and return once it would survive a loss of power.

        An object store answers no sooner than that; a folder has to be told.
        """
        self.write(key, data)
        if isinstance(self._store, LocalStore) and self._store.prefix is not None:
            with self._translated(key, "written"):
                path = Path(self._store.prefix) / key
                for place in (path, *path.parents[: key.count("/") + 1]):
                    _flush(place)

    def read(self, key: str) -> bytes | None:
        """Return the object, None where there is none. Raises StoreFailed."""
        with self._translated(key, "read"):
            try:
                return bytes(obstore.get(self._store, key).bytes())
            except FileNotFoundError:
                return None

    @contextmanager
    def _translated(self, key: str, done: str) -> Iterator[None]:
        """Raise what obstore or the system says as StoreFailed: in one line, without the library's own debugging."""
        try:
            yield
        except (BaseError, OSError) as error:
            raise StoreFailed(
                f"{key} in {self.url} could not be {done}: {str(error).strip().splitlines()[0]}",
                next_command="see that the store is there, may be used and is not full; then the same command again",
            ) from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
