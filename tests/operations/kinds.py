"""Every kind of column, in groups that one migration adds or removes, and both versions' books with them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import django
from django.contrib.postgres import fields as postgres
from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.operations import HStoreExtension
from django.contrib.postgres.search import SearchVectorField
from django.db import migrations, models
from django.db.backends.postgresql.psycopg_any import DateRange
from django.db.models.functions import Now, Pi, Random
from django.utils import timezone

from tests.operations import steps
from tests.project import Project

NEW = uuid.UUID("00000000-0000-4000-8000-000000000001")
THEN = datetime(2020, 2, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Column:
    """A field, and a value that code which knows it writes; `left_empty` says that others' rows get none."""

    field: Any
    value: Any
    left_empty: bool = False


PLAIN = {
    "nullable": Column(models.CharField(max_length=9, null=True), "x", left_empty=True),
    "constant": Column(models.IntegerField(default=5), 6),
    "nullable_default": Column(models.IntegerField(default=5, null=True), 6),
    "blank": Column(models.CharField(max_length=9, blank=True), "x"),
    "boolean": Column(models.BooleanField(default=True), False),
    "decimal": Column(models.DecimalField(max_digits=5, decimal_places=2, default=Decimal("-1.50")), Decimal("2.25")),
    "slug": Column(models.SlugField(default="it's"), "s"),
    "collated": Column(models.CharField(max_length=9, default="c", db_collation="C"), "d"),
    "commented": Column(models.TextField(default="c", db_comment="a column's comment"), "d"),
    "placed": Column(models.IntegerField(default=1, db_index=True, db_tablespace="pg_default"), 2),
    "json": Column(models.JSONField(default=dict), {"a": [1]}),
    "array": Column(postgres.ArrayField(models.IntegerField(), default=list), [1, 2]),
    "days": Column(postgres.DateRangeField(null=True), DateRange(date(2020, 1, 1), date(2020, 1, 2)), left_empty=True),
    "hstore": Column(postgres.HStoreField(default=steps.odd_hstore), {"a": "b"}),
    "words": Column(SearchVectorField(null=True), "'a':1", left_empty=True),
    "positive": Column(models.PositiveIntegerField(default=3), 4),
    "positive_or_none": Column(models.PositiveSmallIntegerField(null=True), 4, left_empty=True),
    "called": Column(models.DateTimeField(default=timezone.now), THEN),
    "made": Column(models.DateTimeField(auto_now_add=True), THEN),
    "day": Column(models.DateField(default=date.today), THEN.date()),
    "random": Column(models.UUIDField(default=uuid.uuid4), NEW),
    "python": Column(models.IntegerField(default=steps.seven), 8),
}
UNIQUE = {
    "unique_or_none": Column(models.CharField(max_length=9, null=True, unique=True), "x", left_empty=True),
    "unique_random": Column(models.UUIDField(default=uuid.uuid4, unique=True), NEW),
    "unique_random_or_none": Column(models.UUIDField(default=uuid.uuid4, unique=True, null=True), NEW),
    "unique_random_text": Column(models.CharField(max_length=36, default=uuid.uuid4, unique=True), "x"),
    "unique_positive": Column(models.PositiveIntegerField(null=True, unique=True), 4, left_empty=True),
}
REFERENCES = {
    "reader": Column(models.ForeignKey("shop.author", models.SET_NULL, null=True, related_name="+"), 1, True),
    "owner": Column(models.ForeignKey("shop.author", models.CASCADE, default=1, related_name="+"), 1),
    "loose": Column(models.ForeignKey("shop.author", models.CASCADE, null=True, db_constraint=False), 9, True),
    "sequel": Column(models.ForeignKey("self", models.CASCADE, null=True, related_name="+"), 1, True),
    "shelf": Column(models.ForeignKey("shop.shelf", models.PROTECT, null=True, to_field="code"), "a", True),
    "twin": Column(models.OneToOneField("shop.author", models.CASCADE, null=True, related_name="+"), 1, True),
}
SHELF = migrations.CreateModel(
    "Shelf", [("id", models.BigAutoField(primary_key=True)), ("code", models.CharField(max_length=3, unique=True))]
)
COMPUTED: dict[str, Column] = {}
if django.VERSION >= (5,):
    COMPUTED = {
        "given": Column(models.IntegerField(db_default=5), 6),
        "stable": Column(models.DateTimeField(db_default=Now()), THEN),
        "expression": Column(models.FloatField(db_default=Pi() + 1), 1.5),
        "volatile": Column(models.FloatField(db_default=Random()), 1.5),
        "volatile_or_none": Column(models.FloatField(db_default=Random(), null=True), 1.5),
        "unique_volatile": Column(models.UUIDField(db_default=RandomUUID(), unique=True), NEW),
    }
GROUPS = {
    "plain": ([HStoreExtension()], PLAIN),
    "unique": ([], UNIQUE),
    "references": ([SHELF], REFERENCES),
    **({"computed": ([], COMPUTED)} if COMPUTED else {}),
}


@dataclass
class Shop:
    """A book shop of two versions: one knows the columns, the other does not."""

    project: Project
    columns: dict[str, Column]
    knowing: Any = field(init=False)
    unknowing: Any = field(init=False)

    def between(self, without: str, having: str) -> Shop:
        """Name the migrations after which code is without the columns, and has them."""
        self.unknowing = self.project.model("Book", at=without)
        self.knowing = self.project.model("Book", at=having)
        return self

    def write_unknowing(self, title: str) -> None:
        """Insert and update a row as code that does not know the columns."""
        self.unknowing.objects.create(title=title, author_id=1, pages=1)
        self.unknowing.objects.filter(title=title).update(pages=2)

    def write(self, title: str) -> None:
        """Insert a row with a value in every column."""
        if "shelf" in self.columns:
            self.project.sql("INSERT INTO shop_shelf (code) VALUES ('a') ON CONFLICT DO NOTHING")
        written = self.knowing(title=title, author_id=1, pages=1)
        for name, column in self.columns.items():
            setattr(written, self.knowing._meta.get_field(name).attname, column.value)
        written.save()
        # auto_now_add takes no value from an insert.
        self.knowing.objects.filter(pk=written.pk).update(
            **{name: c.value for name, c in self.columns.items() if getattr(c.field, "auto_now_add", False)}
        )

    def values(self, title: str) -> dict[str, Any]:
        """Return what a row has in every column."""
        attnames = {name: self.knowing._meta.get_field(name).attname for name in self.columns}
        row = self.knowing.objects.filter(title=title).values(*attnames.values()).get()
        return {name: row[attname] for name, attname in attnames.items()}

    def empty(self, title: str) -> set[str]:
        """Return the columns in which a row has no value."""
        return {name for name, value in self.values(title).items() if value is None}

    @property
    def written(self) -> dict[str, Any]:
        """What `write` writes."""
        return {name: column.value for name, column in self.columns.items()}

    @property
    def left_empty(self) -> set[str]:
        """The columns in which rows of code that does not know them have no value."""
        return {name for name, column in self.columns.items() if column.left_empty}
