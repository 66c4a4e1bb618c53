"""What can happen to a release, by name. Light to import: every `manage.py migrate` asks for it."""

from __future__ import annotations

from enum import StrEnum


class EventKind(StrEnum):
    """What can happen to a release."""

    RELEASE_STARTED = "release started"
    MIGRATION_STARTED = "migration started"
    STEP_INTENDED = "step intended"
    BACKFILL_PROGRESS = "backfill progress"
    STEP_DONE = "step done"
    STEP_DEFERRED = "step deferred"
    ACT_UNDONE = "act undone"
    MIGRATION_DONE = "migration done"
    MIGRATION_REOPENED = "migration reopened"
    MIGRATION_UNDONE = "migration undone"
    RELEASE_OPENED = "release opened"
    ROLLBACK_STARTED = "rollback started"
    OLD_CODE_RUNS = "old code runs"
    RELEASE_ROLLED_BACK = "release rolled back"
    FINALIZE_STARTED = "finalize started"
    RELEASE_FINALIZED = "release finalized"
    RELEASE_FAILED = "release failed"
    PURGE_ENDED = "purge ended"


# After one of these nothing is being done to a release.
RESTING = frozenset(
    {
        EventKind.RELEASE_OPENED,
        EventKind.RELEASE_ROLLED_BACK,
        EventKind.RELEASE_FINALIZED,
        EventKind.RELEASE_FAILED,
        EventKind.PURGE_ENDED,
    }
)
