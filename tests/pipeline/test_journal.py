"""What a command knows of the journal is what is in it, whoever wrote it and whatever was rolled back since."""

from __future__ import annotations

import pytest
from django.db import migrations, models, transaction

from segue.core.event import EventKind
from segue.core.run import Run, State, replay
from segue.journal import Journal
from segue.session import Session
from tests.project import Project


@pytest.fixture
def session(project: Project) -> Session:
    """A session that has read the journal of one open release."""
    project.live(project.migration(migrations.CreateModel("Book", [("id", models.AutoField(primary_key=True))])))
    project.migration(migrations.AddField("Book", "pages", models.IntegerField(null=True)))
    project.apply()
    session = project.session()
    assert _states(session.journal) == [State.FINALIZED, State.OPEN]
    return session


def _states(journal: Journal) -> list[State]:
    return [run.state for run in journal.runs()]


def test_what_another_command_has_done_meanwhile_counts(session: Session, project: Project) -> None:
    project.rollback()

    assert _states(session.journal) == [State.FINALIZED, State.ROLLED_BACK]


def test_what_a_transaction_writes_counts_in_it_and_no_longer_once_it_is_rolled_back(session: Session) -> None:
    journal = session.journal
    release = journal.runs()[-1].release

    with transaction.atomic():
        journal.append(release, EventKind.FINALIZE_STARTED)
        inside = _states(journal)
        transaction.set_rollback(True)

    assert inside == [State.FINALIZED, State.FINALIZING]
    assert _states(journal) == [State.FINALIZED, State.OPEN]
    journal.append(release, EventKind.FINALIZE_STARTED)
    assert _states(journal) == [State.FINALIZED, State.FINALIZING]


def test_a_release_that_is_read_event_by_event_is_the_one_that_is_read_at_once(session: Session) -> None:
    journal = session.journal
    release = journal.runs()[-1].release
    seen: list[Run] = []

    for kind in (EventKind.ROLLBACK_STARTED, EventKind.RELEASE_ROLLED_BACK):
        journal.append(release, kind, migrations=[], blocked=[])
        seen.append(journal.run(release))

    afresh = Journal(session.engine.connection)
    assert seen[-1] == afresh.run(release) == replay(e for e in afresh._read(release))
    assert [run.state for run in seen] == [State.ROLLING_BACK, State.ROLLED_BACK]
