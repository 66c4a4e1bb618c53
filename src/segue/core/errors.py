"""What goes wrong, said once: each class owns its exit status, each message names the next command.

SegueError (1)
├── UsageError (2)           the command or the settings cannot be understood
├── ChangesPending (3)       `--check` found migrations to apply
├── ObjectsHeld (4)          something uses what was to be purged
├── GateNotMet (5)           something that must hold first does not
│   ├── OldCodeConnected     old code may still be running
│   └── BlocksTooLong        others would wait for longer than is allowed
├── TargetHeld (6)           another run holds the target
├── FailedAndUndone (7)      a migration failed and was taken back
├── NeedsPerson (8)          a migration failed and could not be taken back
│   ├── StoreFailed          the store could not be written or read
│   └── ArchiveDamaged       an archive is missing or is not what was written
├── Postponed (10)           what was to be purged may still change or be in use: later
├── StepFailed               one step failed; its caller decides what follows
│   └── LockNotTaken         the lock's deadline passed
└── Interrupted (130)        Ctrl-C
"""

from __future__ import annotations


class SegueError(Exception):
    """An error for a person: what happened, and the next command to type."""

    exit_status = 1

    def __init__(self, message: str, *, next_command: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_command = next_command

    def __str__(self) -> str:
        return f"{self.message}\nNext: {self.next_command}" if self.next_command else self.message


class UsageError(SegueError):
    """The command line or the SEGUE settings cannot be understood."""

    exit_status = 2


class ChangesPending(SegueError):
    """There are migrations to apply, and only the question was asked."""

    exit_status = 3


class ObjectsHeld(SegueError):
    """Something that a person must decide about stands against a part of the work; the rest is done."""

    exit_status = 4


class GateNotMet(SegueError):
    """Something that must hold before this command does not hold."""

    exit_status = 5


class OldCodeConnected(GateNotMet):
    """Old code is still connected, or it cannot be told whether it is."""


class NewCodeConnected(GateNotMet):
    """The new code of a release that is rolled back is still connected."""


class BlocksTooLong(GateNotMet):
    """Something that has no online form would make others wait for longer than is allowed."""


class TargetHeld(SegueError):
    """Another run holds the target."""

    exit_status = 6


class FailedAndUndone(SegueError):
    """A migration failed; what it had done is undone."""

    exit_status = 7


class NeedsPerson(SegueError):
    """A migration failed and Segue could not take it back by itself."""

    exit_status = 8


class StoreFailed(NeedsPerson):
    """The store could not be written or read."""


class ArchiveDamaged(NeedsPerson):
    """An archive is missing, or is not what was written."""


class Postponed(SegueError):
    """A part of the work could not be done now and can later; the rest is done."""

    exit_status = 10


class StepFailed(SegueError):
    """One step failed; nothing of it remains."""


class LockNotTaken(StepFailed):
    """A lock was not free within the deadline."""


class Interrupted(SegueError):
    """The person at the keyboard stopped the run."""

    exit_status = 130
