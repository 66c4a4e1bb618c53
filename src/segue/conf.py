"""The SEGUE settings dict: read once, checked, frozen. Every key and its default stand in `Settings`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from django.conf import settings as django_settings

from segue.core.errors import UsageError

_UNITS = {"ms": "milliseconds", "s": "seconds", "min": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a project can set; durations may be written as timedelta or as "50ms", "10min", "7d"."""

    LOCK_TIMEOUT: timedelta = timedelta(milliseconds=50)
    """The longest that another session waits because Segue waits for a lock."""
    LOCK_DEADLINE: timedelta = timedelta(minutes=10)
    """How long a step keeps trying for its locks before it gives up."""
    ALLOW_BLOCKING: timedelta = timedelta(milliseconds=50)
    """How long others may wait for work on the rows of a table that has no online form; beyond it is refused."""
    RUNNER_WAIT: timedelta = timedelta(seconds=60)
    """How long a command waits while another run holds the target."""
    STORE: str = ""
    """URL of the folder or object store for the ledger and for archives; empty for none."""
    RETAIN: timedelta = timedelta(days=7)
    """How long what was retired stays in the database before purge may archive and drop it."""
    ALIAS_FROM: int = 10_000_000
    """On a table with that many rows a renamed column is not copied: new code is told its old name instead."""
    CAPTURE: Mapping[str, int] = field(default_factory=lambda: {"*": 5_000_000})
    """Per table, and "*" for any other, of how many rows what a migration's own code changes is kept; 0 for none."""
    DIRECT: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Per alias, the DATABASES keys to override while migrating, past a transaction pooler."""


def read() -> Settings:
    """Return the project's settings; raise UsageError for a key or value that is none."""
    raw: Mapping[str, Any] = getattr(django_settings, "SEGUE", None) or {}
    known = {f.name: f for f in fields(Settings)}
    unknown = sorted(set(raw) - set(known))
    if unknown:
        raise UsageError(
            f"SEGUE has no setting {', '.join(unknown)}; there are {', '.join(known)}.",
            next_command="correct SEGUE in your Django settings",
        )
    defaults = Settings()
    values: dict[str, Any] = {
        name: parse_duration(name, value) if isinstance(getattr(defaults, name), timedelta) else value
        for name, value in raw.items()
        if value is not None
    }
    _require_row_counts(values.get("CAPTURE", {}))
    return Settings(**values)


def _require_row_counts(capture: Any) -> None:
    """Raise UsageError unless CAPTURE says a number of rows for each table."""
    counts = capture.values() if isinstance(capture, Mapping) else [None]
    if not all(isinstance(rows, int) and not isinstance(rows, bool) and rows >= 0 for rows in counts):
        raise UsageError(
            f"CAPTURE is {capture!r}, which says no number of rows for each table.",
            next_command='write it as {"*": 1000000, "music_play": 0}',
        )


def parse_duration(name: str, value: Any) -> timedelta:
    """Return "50ms", "1.5s", "10min", "2h" or "7d" as a timedelta; a timedelta stays as it is."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)", str(value))
    if match is None:
        raise UsageError(
            f"{name} is {value!r}, which is no duration.",
            next_command='write it as a timedelta or as "50ms", "10s", "5min", "2h" or "7d"',
        )
    return timedelta(**{_UNITS[match[2]]: float(match[1])})
