"""What an archive says of itself: the object that it holds, its rows, and how to make it again.

Values only. The rows lie beside it in the store, in parts, as the engine wrote them.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import Any

from segue.core.change import Kind, Retired
from segue.core.values import from_json, to_json

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """How many rows there are, and the sum of their hashes: the same for the same rows in any order."""

    rows: int
    hash: str

    def __str__(self) -> str:
        return f"{self.rows}-{hashlib.sha256(self.hash.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, kw_only=True)
class ArchivedColumn:
    """A column as the database describes it; `type` has its collation, `default` and `comment` may be empty."""

    name: str
    type: str
    default: str = ""
    comment: str = ""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What an archive holds: an object, the columns of its rows in their order, and how to make it again.

    `key` are the first columns of a retired column's rows: they say which row a value belongs to. `making` and
    `finishing` are statements for before and after the rows of a table, `indexes` the names that the latter make.
    `table_id` is what the server calls the table, so that another of the same name is not taken for it.
    """

    of: Retired
    columns: tuple[ArchivedColumn, ...]
    key: tuple[str, ...] = ()
    making: tuple[str, ...] = ()
    finishing: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    table_id: int = 0


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some rows in one object of the store; `bytes` and `sha256` are the stored object's own."""

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """An archive that is whole: it is written last."""

    key: str
    release: str
    server: str
    at: str
    contents: Contents
    fingerprint: Fingerprint
    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """What its rows take in the store."""
        return sum(part.bytes for part in self.parts)


def folder(alias: str, release: str, retired: Retired) -> str:
    """Return where the archives of one object lie; an object of the same name retired elsewhen lies elsewhere."""
    place = hashlib.sha256(json.dumps(to_json(replace(retired, archive=""))).encode()).hexdigest()[:12]
    name = retired.table if retired.kind is Kind.TABLE else f"{retired.table}.{retired.name}"
    readable = re.sub(r"[^A-Za-z0-9_.]+", "-", name)
    return f"archive/{alias}/{release}/{retired.kind}-{readable}-{place}"


def written(manifest: Manifest) -> bytes:
    """Return the manifest as JSON that can tell whether it was changed since."""
    body = to_json(manifest)
    return json.dumps({"format": FORMAT, "sha256": _digest(body), "archive": body}, indent=1).encode() + b"\n"


def read(data: bytes) -> Manifest | None:
    """Return what `written` wrote; None when it is not that, or not of this format."""
    try:
        found = json.loads(data)
        if found["format"] != FORMAT or found["sha256"] != _digest(found["archive"]):
            return None
        return from_json(Manifest, found["archive"])
    except (ValueError, KeyError, TypeError):
        return None  # Whatever it is, it is no manifest; its reader says so.


def _digest(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
