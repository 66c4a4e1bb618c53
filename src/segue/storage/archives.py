"""Archives in the store: rows in compressed parts, and a manifest that makes them an archive.

Owns how they are compressed and proved; what a row is, the engine knows. Nothing here deletes: an archive without
manifest is what a killed run left, and the next one writes over it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator

from segue.core import archive
from segue.core.archive import Manifest, Part
from segue.core.errors import ArchiveDamaged
from segue.storage import ObjectStorage

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Big enough to compress well, small enough to be held in memory, compressed and not, on any machine.
PART_BYTES = 8 * 1024 * 1024
_OPTIONS: dict[int, int] = {
    zstd.CompressionParameter.compression_level: 1,
    zstd.CompressionParameter.checksum_flag: 1,
}


class Archives:
    """The archives of one store."""

    def __init__(self, store: ObjectStorage) -> None:
        self._store = store
        self.url = store.url

    def find(self, key: str) -> Manifest | None:
        """Return the manifest of that key; None where none was written. Raises ArchiveDamaged, StoreFailed."""
        data = self._store.read(f"{key}/manifest.json")
        if data is None:
            return None
        manifest = archive.read(data)
        if manifest is None or manifest.key != key:
            raise _damaged(key, self.url, "its manifest was changed")
        return manifest

    def manifest(self, key: str) -> Manifest:
        """Return the manifest of an archive that must be there. Raises ArchiveDamaged, StoreFailed."""
        found = self.find(key)
        if found is None:
            raise _damaged(key, self.url, "it has no manifest there")
        return found

    def rows(self, manifest: Manifest) -> Iterator[bytes]:
        """Yield the rows, some MB at a time, each part only once it is proved to be what was written.

        Raises ArchiveDamaged, StoreFailed.
        """
        for part in manifest.parts:
            data = self._store.read(f"{manifest.key}/{part.name}")
            if data is None:
                raise _damaged(manifest.key, self.url, f"{part.name} is missing")
            if len(data) != part.bytes or hashlib.sha256(data).hexdigest() != part.sha256:
                raise _damaged(manifest.key, self.url, f"{part.name} was changed")
            yield zstd.decompress(data)

    def writer(self, key: str) -> PartWriter:
        """Return a writer of the parts of a new archive."""
        return PartWriter(self._store, key)

    def seal(self, manifest: Manifest) -> None:
        """Write the manifest: from now on there is an archive."""
        self._store.keep(f"{manifest.key}/manifest.json", archive.written(manifest))


class PartWriter:
    """Takes rows one by one, each with its newline, and stores a part whenever enough have come."""

    def __init__(self, store: ObjectStorage, key: str) -> None:
        self._store = store
        self._key = key
        self._waiting = bytearray()
        self._rows = 0
        self.parts: tuple[Part, ...] = ()

    def write(self, row: bytes) -> None:
        """Take one row. Raises StoreFailed."""
        self._waiting += row
        self._rows += 1
        if len(self._waiting) >= PART_BYTES:
            self.flush()

    def flush(self) -> None:
        """Store what has come since the last part. Raises StoreFailed."""
        if not self._rows:
            return
        data = zstd.compress(self._waiting, options=_OPTIONS)
        name = f"{len(self.parts) + 1:06}.copy.zst"
        self._store.keep(f"{self._key}/{name}", data)
        part = Part(name=name, rows=self._rows, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        self.parts = (*self.parts, part)
        self._waiting, self._rows = bytearray(), 0


def _damaged(key: str, url: str, what: str) -> ArchiveDamaged:
    return ArchiveDamaged(
        f"The archive {key} in {url} cannot be used: {what}. Nothing was loaded from it.",
        next_command=f"put it back from a copy of the store, then the same command again; or segue purge --forget "
        f"{key}, which gives its values up",
    )
