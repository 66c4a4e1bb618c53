"""The shop's first migration, and for each kind of change its second, as Django's operations.

Imported by the migrations that the benchmark writes, so in Django's processes only.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

import django
from django.db import migrations, models
from django.db.migrations.operations.base import Operation
from django.db.models import CASCADE, SET_NULL, Q

from bench.kinds import MOOD


def initial() -> Sequence[Operation]:
    """Albums, songs, and two tables that refer to songs."""
    return [
        migrations.CreateModel(
            "Album",
            [("id", models.BigAutoField(primary_key=True)), ("title", models.CharField(max_length=200))],
        ),
        migrations.CreateModel(
            "Song",
            [
                ("id", models.AutoField(primary_key=True)),
                ("title", models.CharField(max_length=200)),
                ("isrc", models.CharField(max_length=20)),
                ("seconds", models.IntegerField()),
                ("plays", models.IntegerField(default=0)),
                ("mood", models.CharField(max_length=20, null=True)),
                ("note", models.CharField(max_length=100, default="")),
                ("album", models.BigIntegerField(null=True, db_column="album_id")),
            ],
        ),
        *(
            migrations.CreateModel(
                name,
                [
                    ("id", models.BigAutoField(primary_key=True)),
                    ("song", models.ForeignKey("shop.Song", CASCADE)),
                    (column, models.IntegerField()),
                ],
            )
            for name, column in (("Review", "stars"), ("Sale", "cents"))
        ),
    ]


def _columns_and_index() -> Sequence[Operation]:
    return [
        migrations.AddField("Song", "language", models.CharField(max_length=10, default="en")),
        migrations.AddField("Song", "quality", models.IntegerField(default=320)),
        migrations.AddField("Song", "is_explicit", models.BooleanField(default=False)),
        migrations.AddIndex("Song", models.Index(fields=["language"], name="song_language")),
    ]


def _foreign_key() -> Sequence[Operation]:
    return [
        migrations.AlterField("Song", "album", models.ForeignKey("shop.Album", SET_NULL, null=True)),
        migrations.AddField(
            "Song", "single", models.ForeignKey("shop.Album", SET_NULL, null=True, related_name="singles")
        ),
    ]


def _check_and_unique() -> Sequence[Operation]:
    # The argument's name has changed with Django 5.1; its place has not.
    check = models.CheckConstraint(name="song_seconds", **{_CONDITION: Q(seconds__gte=0)})
    unique = models.UniqueConstraint(fields=["isrc"], name="song_isrc")
    return [migrations.AddConstraint("Song", check), migrations.AddConstraint("Song", unique)]


def _pk_to_bigint() -> Sequence[Operation]:
    return [migrations.AlterField("Song", "id", models.BigAutoField(primary_key=True))]


_CONDITION = "condition" if django.VERSION >= (5, 1) else "check"
SECOND: dict[str, Callable[[], Sequence[Operation]]] = {
    "columns-and-index": _columns_and_index,
    "index": lambda: [migrations.AddIndex("Song", models.Index(fields=["title"], name="song_title"))],
    "int-to-bigint": lambda: [migrations.AlterField("Song", "plays", models.BigIntegerField(default=0))],
    "not-null": lambda: [migrations.AlterField("Song", "mood", models.CharField(max_length=20, default=MOOD))],
    "foreign-key": _foreign_key,
    "check-and-unique": _check_and_unique,
    "uuid-default": lambda: [migrations.AddField("Song", "token", models.UUIDField(default=uuid.uuid4))],
    "uuid-unique": lambda: [migrations.AddField("Song", "token", models.UUIDField(default=uuid.uuid4, unique=True))],
    "rename-field": lambda: [migrations.RenameField("Song", "title", "name")],
    "rename-model": lambda: [migrations.RenameModel("Album", "Record")],
    "remove-field": lambda: [migrations.RemoveField("Song", "note")],
    "pk-to-bigint": _pk_to_bigint,
}
