"""What a release is called."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import pytest
from django.db import migrations, models

from segue import journal
from tests.project import Project


def test_two_releases_of_one_second_never_have_the_same_name(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["00aa", "00aa", "00aa", "00bb"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(drawn))
    monkeypatch.setattr(journal.timezone, "now", lambda: datetime(2026, 1, 15, 2, tzinfo=UTC))
    project.migration(migrations.CreateModel("Book", [("id", models.AutoField(primary_key=True))]))
    first = project.apply()
    project.migration(migrations.AddField("Book", "pages", models.IntegerField(null=True)))

    second = project.apply()

    assert first is not None
    assert second is not None
    assert (first.release, second.release) == ("20260115-020000-00aa", "20260115-020000-00bb")
