"""What purge may drop, and what became of it: values, and the one decision, which asks nobody.

An object is due when every release that could need it is over and it has lain there for long enough.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from segue.core.change import Kind, Retired
from segue.core.errors import ObjectsHeld, Postponed
from segue.core.evidence import Blocked
from segue.core.run import Grave, Run, State

_OVER = frozenset({State.FINALIZED, State.PURGED, State.ROLLED_BACK, State.FAILED})


@dataclass(frozen=True, kw_only=True)
class Remains:
    """What is left of a retired object: how many values, their bytes, and what dropping it gives back at once.

    What has no values of its own (an index, a generated column) needs no archive. `hindrances` name what uses it,
    or why it cannot be archived.
    """

    freed_bytes: int
    has_values: bool
    rows: int = 0
    bytes: int = 0
    hindrances: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Due:
    """An object that purge may drop, since when it lies there, the releases that moved it, and what is left of it."""

    retired: Retired
    since: str
    releases: tuple[str, ...]
    remains: Remains

    @property
    def release(self) -> str:
        """The release that retired it last: its purge belongs to that."""
        return self.releases[-1]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An object that purge leaves alone for now, and why."""

    retired: Retired
    reason: str


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a purge would drop, what it could not because something uses it, and what it would leave for later."""

    due: tuple[Due, ...]
    held: tuple[Kept, ...]
    kept: tuple[Kept, ...]


@dataclass(frozen=True, kw_only=True)
class Purged:
    """An object that was dropped; `archive` is the key of its values, empty when it had none."""

    retired: Retired
    freed_bytes: int
    rows: int = 0
    archive: str = ""
    archive_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Purge:
    """What one purge did: what it dropped, what it could not, what it left for later, and who waited meanwhile."""

    purged: tuple[Purged, ...]
    held: tuple[Kept, ...]
    postponed: tuple[Kept, ...]
    kept: tuple[Kept, ...]
    store: str
    blocked: tuple[Blocked, ...] = ()

    def require_whole(self) -> None:
        """Raise ObjectsHeld or Postponed, naming the objects, when something due could not go."""
        if self.held:
            raise ObjectsHeld(
                f"{', '.join(spoken(kept.retired) for kept in self.held)}: something uses what was to be purged. "
                "It stays; the rest was done.",
                next_command="take away what uses it, as named above; then segue purge again",
            )
        if self.postponed:
            raise Postponed(
                f"{', '.join(spoken(kept.retired) for kept in self.postponed)}: this could not be purged now. "
                "It stays; the rest was done.",
                next_command="segue purge again, when it is quieter",
            )


def reason_to_keep(
    grave: Grave, runs: Mapping[str, Run], used: Collection[tuple[str, str]], now: datetime, retain: timedelta
) -> str:
    """Return why an object must stay, "" when it is due.

    `used` are the names that the project's code knows: (table, "") and (table, column or index).
    """
    retired = grave.retired
    for release in grave.releases:
        if runs[release].state not in _OVER:
            return f"release {release} is {runs[release].state} and may need it"
    name = "" if retired.kind is Kind.TABLE else retired.name
    if not retired.place and (retired.table, name) in used:
        return "the project's code uses that name"
    age = now - datetime.fromisoformat(grave.since)
    if age < retain:
        return f"it was retired {words(age)} ago, less than {words(retain)}"
    return ""


def spoken(retired: Retired) -> str:
    """Return an object as a person calls it: column shop_song.title, table shop_song, index song_title."""
    names = {
        Kind.TABLE: retired.table,
        Kind.INDEX: retired.name,
        Kind.VALUES: f"of {retired.table}.{retired.name}",
        Kind.ROWS: f"of {retired.table}",
    }
    return f"{retired.kind} {names.get(retired.kind, f'{retired.table}.{retired.name}')}"


def words(duration: timedelta) -> str:
    """Return a duration as a person says it: 9 days, 3 hours, 20 seconds."""
    for unit, seconds in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if duration.total_seconds() >= seconds:
            return _counted(int(duration.total_seconds() // seconds), unit)
    return _counted(int(duration.total_seconds()), "second")


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
