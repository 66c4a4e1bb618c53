"""The journal's tables: events of releases, and rows in quarantine.

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
    """A row, or a reference of a row, that reviving could not attach; `settled_at` is set by a person."""

    id: models.BigAutoField[Any, Any] = models.BigAutoField(primary_key=True)
    release: models.CharField[Any, Any] = models.CharField(max_length=40, db_index=True)
    table: models.TextField[Any, Any] = models.TextField()
    reason: models.TextField[Any, Any] = models.TextField()
    row: models.JSONField = models.JSONField()
    at: models.DateTimeField[Any, Any] = models.DateTimeField(default=timezone.now)
    settled_at: models.DateTimeField[Any, Any] = models.DateTimeField(null=True)

    class Meta:
        managed = False
        app_label = "segue"
        db_table = "segue_quarantine"

    def __str__(self) -> str:
        return f"{self.table}: {self.reason}"
