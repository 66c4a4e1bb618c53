"""What one client did, request by request: one JSON line each in a file that survives the client."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """Values that a request wrote into one row, by column."""

    table: str
    pk: int
    values: Mapping[str, Any]
    is_new: bool


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One request: when it was due (monotonic seconds), how long after that it ended, what it wrote.

    With a failure, `rows` are what it tried to write: whether the database has them is unknown.
    """

    due_at: float
    latency_ms: float
    request: str
    failure: str | None
    rows: tuple[Row, ...]

    @property
    def ended_at(self) -> float:
        """When the answer came, in monotonic seconds."""
        return self.due_at + self.latency_ms / 1000

    def to_line(self) -> str:
        """The entry as one line; values that JSON does not know become their text."""
        return json.dumps(asdict(self), default=str) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Entry:
        """The entry of a line that `to_line` wrote."""
        fields = json.loads(line)
        return cls(**{**fields, "rows": tuple(Row(**row) for row in fields["rows"])})


class RecordReader:
    """Reads a record that its client may still be writing; each call gives the entries since the last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_entries(self) -> Iterator[Entry]:
        """The whole lines written since the last call; an unfinished line waits for the next."""
        if not self._path.exists():
            return
        with self._path.open("rb") as lines:
            lines.seek(self._offset)
            for line in lines:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield Entry.from_line(line.decode())
