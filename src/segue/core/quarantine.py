"""Rows in quarantine as values: one line each, the groups that a person looks at, and what settling them did.

The kinds say what settles a line; `segue.models.Quarantined` says what each of them holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from segue.core.errors import ObjectsHeld


class Trouble(StrEnum):
    """Why a row is in quarantine."""

    ORPHAN = "orphan"
    REFERENCE = "reference"
    OVERFLOW = "overflow"
    DUPLICATE = "duplicate"
    VIOLATION = "violation"
    CHANGED = "changed"

    @property
    def is_of_a_row(self) -> bool:
        """Whether it is settled row by row; otherwise it is a constraint that all its rows stand against."""
        return self in {Trouble.ORPHAN, Trouble.REFERENCE, Trouble.OVERFLOW, Trouble.CHANGED}

    @property
    def put_right(self) -> str:
        """What `--restore` does about it, for a person."""
        return {
            "orphan": "puts back each row whose parent is there again",
            "reference": "puts back each reference whose parent is there again",
            "overflow": "puts back each value that the column can hold by now",
            "duplicate": "tries the unique constraint again",
            "violation": "tries the constraint again",
            "changed": "puts back each value as it was before the migration, where it is still what is listed",
        }[self.value]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the quarantine; `trouble` is None where it was put there without saying."""

    id: int
    release: str
    table: str
    reason: str
    trouble: Trouble | None = None
    object: str = ""
    definition: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The lines of one release, table and reason: how many, and the primary keys of the first few."""

    release: str
    table: str
    reason: str
    trouble: Trouble | None
    object: str
    count: int
    ids: tuple[int, ...]
    samples: tuple[str, ...]

    @property
    def command(self) -> str:
        """What settles it."""
        how = "--restore" if self.trouble else "--keep"
        return f"segue quarantine settle --release {self.release} --table {_shell(self.table)} {how}"


def sample(row: Mapping[str, Any], key: Sequence[str], trouble: Trouble | None, definition: str | None) -> str:
    """Return a row for a person, by its key, with the values that a migration's own code could not get back."""
    named = ", ".join(f"{name} = {row[name]}" for name in key if name in row) or str(row)
    if trouble is not Trouble.CHANGED or not definition:
        return named
    values = json.loads(definition).items()
    changes = (f"{name} was {v['before']!r}, became {v['after']!r} and is {v['now']!r}" for name, v in values)
    return f"{named} ({', '.join(changes)})"


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What became of the lines that were to be settled; `left` are those that were not, each with the reason."""

    settled: tuple[Line, ...]
    left: tuple[tuple[Line, str], ...]

    def require_whole(self) -> None:
        """Raise ObjectsHeld when a line could not be settled."""
        if self.left:
            raise ObjectsHeld(
                f"{len(self.left)} of {len(self.left) + len(self.settled)} lines could not be settled; nothing about "
                "them has changed.",
                next_command="mend what is said of them above, and settle them again; or settle them with --keep",
            )


def reasons(left: Sequence[tuple[Line, str]]) -> dict[str, list[int]]:
    """Return the ids of what is left by the reason that keeps them."""
    found: dict[str, list[int]] = {}
    for line, reason in left:
        found.setdefault(f"{line.table}: {reason}", []).append(line.id)
    return found


def _shell(name: str) -> str:
    plain = name.replace("_", "").isalnum() and name.isascii()
    return name if plain else "'" + name.replace("'", "'\\''") + "'"
