"""The journal's tables: events of releases, rows in quarantine, and aliases that are open.

They are unmanaged: the journal makes them when it first needs them, as Django makes django_migrations.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from segue.core.event import RESTING


class Event(models.Model):
    """One event of one release, as `segue.core.run` names them."""

    id: models.BigAutoField[Any, Any] = models.BigAutoField(primary_key=True)
    release: models.CharField[Any, Any] = models.CharField(max_length=40, db_index=True)
    kind: models.CharField[Any, Any] = models.CharField(max_length=40)
    at: models.DateTimeField[Any, Any] = models.DateTimeField(default=timezone.now)
    data: models.JSONField = models.JSONField(default=dict)

    class Meta:
        managed = False
        app_label = "segue"
        db_table = "segue_event"

    def __str__(self) -> str:
        return f"{self.release}: {self.kind}"

    @classmethod
    def unfinished(cls, connection: BaseDatabaseWrapper) -> bool:
        """Whether a release is under way on this database: only one is at a time, so the last event tells."""
        with connection.cursor() as cursor:
            if cls._meta.db_table not in connection.introspection.table_names(cursor):
                return False
        last = cls.objects.using(connection.alias).order_by("-id").values_list("kind", flat=True).first()
        return last is not None and last not in RESTING


class Quarantined(models.Model):
    """A row's image as the way back found it, with what could not be kept true; `settled_at` is set by a person.

    What `object` and `definition` hold, by `kind`; whoever puts a row here fills them, as far as it can:

    orphan     the column, and what it refers to, as ADD CONSTRAINT takes it; the row has left its table
    reference  the same of a row that is still there and has lost the reference
    overflow   the column that cannot hold its value, and the column's type; the image has the value
    duplicate  the unique constraint or index, and the acts that make it, as JSON; the row is still there
    violation  the same of any other constraint
    changed    nothing, and of each column its values before the migration's own code, after it, and now, as JSON
    """

    id: models.BigAutoField[Any, Any] = models.BigAutoField(primary_key=True)
    release: models.CharField[Any, Any] = models.CharField(max_length=40, db_index=True)
    table: models.TextField[Any, Any] = models.TextField()
    reason: models.TextField[Any, Any] = models.TextField()
    row: models.JSONField = models.JSONField()
    kind: models.TextField[Any, Any] = models.TextField(null=True)
    object: models.TextField[Any, Any] = models.TextField(null=True)
    definition: models.TextField[Any, Any] = models.TextField(null=True)
    at: models.DateTimeField[Any, Any] = models.DateTimeField(default=timezone.now)
    settled_at: models.DateTimeField[Any, Any] = models.DateTimeField(null=True)

    class Meta:
        managed = False
        app_label = "segue"
        db_table = "segue_quarantine"

    def __str__(self) -> str:
        return f"{self.table}: {self.reason}"


class OpenAlias(models.Model):
    """One `segue.core.change.Alias` that is open, and the migration that tells new code from old.

    New code has the migration, or lacks it where the release goes `backwards`.
    """

    id: models.BigAutoField[Any, Any] = models.BigAutoField(primary_key=True)
    table_name: models.TextField[Any, Any] = models.TextField()
    column_name: models.TextField[Any, Any] = models.TextField()
    place: models.TextField[Any, Any] = models.TextField()
    app: models.TextField[Any, Any] = models.TextField()
    migration: models.TextField[Any, Any] = models.TextField()
    release: models.CharField[Any, Any] = models.CharField(max_length=40)
    backwards: models.BooleanField[Any, Any] = models.BooleanField(default=False)

    class Meta:
        managed = False
        app_label = "segue"
        db_table = "segue_alias"

    def __str__(self) -> str:
        return f"{self.table_name}.{self.column_name}: {self.place}".replace(".:", ":")
