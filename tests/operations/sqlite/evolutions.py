"""Random but valid evolutions of a schema on SQLite, rows for any of its states, and what a database file holds.

Owns the strategies and the helpers of test_random_sequences_sqlite.py; asserts nothing.
"""

from __future__ import annotations

import inspect
import re
import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import django
from django.db import IntegrityError, migrations, models
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import Q, Value
from django.db.models.functions import Lower
from hypothesis import strategies as st

MODELS = ("Shelf", "Loan", "Card", "Ünïcode")
TABLES = (None, None, "Capital Letters", "Größe", "select", '"Quoted table"')
COLUMNS = (None, None, None, "order", "Capital", "größe", "two words")
_numbers = count(1)


def called() -> int:
    """Return a default that Django has to call."""
    return 77


def another() -> int:
    """Return a number that nobody had before."""
    return next(_numbers)


BASE = (
    migrations.CreateModel(
        "Author",
        [
            ("id", models.BigAutoField(primary_key=True)),
            ("name", models.CharField(max_length=50)),
            ("born", models.DateTimeField(null=True)),
            ("rank", models.IntegerField(default=0)),
            ("text", models.TextField(null=True)),
        ],
    ),
    migrations.CreateModel(
        "Tag",
        [
            ("code", models.CharField(max_length=20, primary_key=True)),
            ("label", models.CharField(max_length=30, unique=True)),
            ("count", models.PositiveIntegerField(default=1)),
        ],
    ),
    migrations.CreateModel(
        "Book",
        [
            ("id", models.AutoField(primary_key=True)),
            ("title", models.CharField(max_length=80, db_index=True)),
            ("author", models.ForeignKey("shop.author", models.CASCADE)),
            ("editor", models.ForeignKey("shop.author", models.SET_NULL, null=True, related_name="+")),
            ("price", models.DecimalField(max_digits=8, decimal_places=2)),
            ("about", models.JSONField(default=dict)),
            ("sequel", models.ForeignKey("shop.book", models.SET_NULL, null=True, related_name="+")),
            ("tags", models.ManyToManyField("shop.tag")),
        ],
        options={
            "indexes": [models.Index(fields=["price", "title"], name="price_title")],
            "unique_together": {("title", "author")},
        },
    ),
)
# The primary key of one row of each model of the base, as `Writer` numbers its first rows.
FROM_THE_START = "(3, '106')"
# Texts that a number would not hold as they are, and numbers that a text would not.
ODD_TEXTS = ("007", " 12", "1e3", "not a number", "", "2024-02-03", "1.50", "%s", "ü", '{"a":  1}')


@dataclass
class Evolution:
    """Migrations to come after the base, each a list of operations."""

    migrations: list[list[Operation]]

    def __repr__(self) -> str:
        return "\n".join(
            f"migration {number}:\n" + "\n".join(f"    {_shown(operation)}" for operation in operations)
            for number, operations in enumerate(self.migrations, start=2)
        )

    @property
    def operations(self) -> list[Operation]:
        """All their operations."""
        return [operation for operations in self.migrations for operation in operations]

    def state(self) -> ProjectState:
        """Return the state after all of them."""
        return after(base_state(), self.operations)

    @property
    def may_revive(self) -> bool:
        """Whether something may be made again that was removed on the way: it has its values, unlike stock's."""
        gone: set[str] = set()
        for operation in self.operations:
            if isinstance(operation, migrations.RemoveField | migrations.DeleteModel):
                gone.add(operation.name_lower)
            elif isinstance(operation, migrations.AddField | migrations.CreateModel) and operation.name_lower in gone:
                return True
        return False

    def becomes(self, model: str) -> str | None:
        """Return what a model of the base is called in the end, None when it is deleted on the way."""
        name = model.lower()
        for operation in self.operations:
            if isinstance(operation, migrations.RenameModel) and operation.old_name_lower == name:
                name = operation.new_name_lower
            elif isinstance(operation, migrations.DeleteModel) and operation.name_lower == name:
                return None
        return name


def base_state() -> ProjectState:
    """Return the state that every evolution starts from."""
    return after(ProjectState(), BASE)


def after(state: ProjectState, operations: Any) -> ProjectState:
    """Return the state after some operations."""
    state = state.clone()
    for operation in operations:
        operation.state_forwards("shop", state)
    return state


def _shown(operation: Operation) -> str:
    name, args, kwargs = operation.deconstruct()
    return f"{name}({', '.join([*map(_plain, args), *(f'{k}={_plain(v)}' for k, v in kwargs.items())])})"


def _plain(value: Any) -> str:
    if isinstance(value, models.Field):
        _, path, args, kwargs = value.deconstruct()
        return f"{path.rsplit('.', 1)[-1]}({', '.join([*map(repr, args), *(f'{k}={v!r}' for k, v in kwargs.items())])})"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    return repr(value)


# Evolutions


@st.composite
def evolutions(draw: st.DrawFn) -> Evolution:
    """One to ten operations, each valid after those before it, in one to four migrations."""
    making = _Making(draw, base_state())
    for _ in range(draw(st.integers(1, 10))):
        verbs = [*_VERBS] if making.state.models else ["create model"]
        making.make(_VERBS[draw(st.sampled_from(verbs))](making))
    if not making.operations:
        making.make(_add_field(making))
    made = making.operations
    cuts = sorted(draw(st.sets(st.integers(0, len(made)), max_size=3)))
    parts = [made[a:b] for a, b in zip([0, *cuts], [*cuts, len(made)], strict=True)]
    return Evolution(migrations=[part for part in parts if part])


class _Making:
    """The operations drawn so far, and the state that they lead to."""

    def __init__(self, draw: st.DrawFn, state: ProjectState) -> None:
        self.draw = draw
        self.state = state
        self.operations: list[Operation] = []
        self._number = 0

    def make(self, operations: list[Operation]) -> None:
        self.state = after(self.state, operations)
        self.operations += operations

    def next(self, stem: str) -> str:
        self._number += 1
        return f"{stem}{self._number}"

    def maybe(self, one_in: int = 2) -> bool:
        return self.draw(st.integers(1, one_in)) == 1

    def pick(self, choices: Any) -> Any:
        choices = list(choices)
        return self.draw(st.sampled_from(choices)) if choices else None

    def models(self) -> list[ModelState]:
        return [self.state.models[key] for key in sorted(self.state.models)]

    def model(self) -> ModelState:
        return self.pick(self.models())

    def target(self) -> str:
        return f"shop.{self.model().name_lower}"

    def column(self, model: ModelState | None) -> dict[str, str]:
        taken = {f.db_column for f in model.fields.values()} if model else set()
        column = self.pick(COLUMNS)
        return {} if column is None or column in taken else {"db_column": column}

    def free_names(self) -> list[str]:
        return [name for name in MODELS if ("shop", name.lower()) not in self.state.models]

    def free_table(self) -> str | None:
        table = self.pick(TABLES)
        return None if table in {m.options.get("db_table") for m in self.models()} else table


def _scalar(m: _Making, **extra: Any) -> models.Field[Any, Any]:
    """Return a field that a table with rows can get: nullable, or with a default of some kind."""
    kinds: list[Callable[[], models.Field[Any, Any]]] = [
        lambda: models.CharField(max_length=40, null=True, **extra),
        lambda: models.CharField(max_length=40, default="it's 100%", **extra),
        lambda: models.TextField(default="7", **extra),
        lambda: models.TextField(null=True, **extra),
        lambda: models.IntegerField(null=True, **extra),
        lambda: models.IntegerField(default=called, **extra),
        lambda: models.SmallIntegerField(default=-7, **extra),
        lambda: models.PositiveIntegerField(default=3, **extra),
        lambda: models.PositiveSmallIntegerField(null=True, **extra),
        lambda: models.FloatField(default=1.5, **extra),
        lambda: models.BooleanField(default=True, **extra),
        lambda: models.DecimalField(max_digits=9, decimal_places=3, default=Decimal("1.500"), **extra),
        lambda: models.DateTimeField(null=True, **extra),
        lambda: models.DateField(default=date(2024, 2, 3), **extra),
        lambda: models.DurationField(default=timedelta(days=1, microseconds=5), **extra),
        lambda: models.JSONField(default=dict, **extra),
        lambda: models.JSONField(null=True, **extra),
        lambda: models.UUIDField(null=True, **extra),
        lambda: models.BinaryField(default=b"\x00%s", **extra),
        lambda: models.TextField(null=True, db_collation="NOCASE", **extra),
    ]
    if django.VERSION >= (5, 0):
        kinds += [
            lambda: models.IntegerField(db_default=Value(42), **extra),
            lambda: models.CharField(max_length=40, null=True, db_default="in the database", **extra),
            lambda: models.TextField(default="here", db_default="there", **extra),
        ]
    return m.pick(kinds)()


def _key(m: _Making, model: ModelState | None, *, null: bool) -> models.Field[Any, Any]:
    kind = models.OneToOneField if null and m.maybe(5) else models.ForeignKey
    return kind(m.target(), models.CASCADE, null=null, related_name="+", **m.column(model))


def _any_field(m: _Making, model: ModelState | None) -> models.Field[Any, Any]:
    if m.maybe(5):
        return models.ManyToManyField(m.target(), related_name="+")
    if m.maybe(5):
        return _key(m, model, null=True)
    if m.maybe(8):
        return models.IntegerField(default=another, unique=True, **m.column(model))
    if m.maybe(8):
        return models.CharField(max_length=40, null=True, unique=True, **m.column(model))
    return _scalar(m, **m.column(model), db_index=m.maybe(4))


def _create_model(m: _Making) -> list[Operation]:
    name = m.pick(m.free_names())
    if name is None:
        return []
    model = ModelState("shop", name, [])
    primary = [
        models.BigAutoField(primary_key=True),
        models.AutoField(primary_key=True),
        models.UUIDField(primary_key=True, default=uuid.uuid4),
        models.CharField(max_length=20, primary_key=True),
    ]
    if m.models():
        primary.append(models.OneToOneField(m.target(), models.CASCADE, primary_key=True, related_name="+"))
    model.fields["id"] = m.pick(primary)
    for _ in range(m.draw(st.integers(1, 3))):
        model.fields[m.next("field")] = _any_field(m, model) if m.models() else _scalar(m)
    if m.models() and m.maybe():
        model.fields[m.next("key")] = _key(m, model, null=m.maybe())
    if m.maybe(4):
        to = f"shop.{name}".lower()
        model.fields[m.next("key")] = models.ForeignKey(to, models.CASCADE, null=True, related_name="+")
    options: dict[str, Any] = {}
    if table := m.free_table():
        options["db_table"] = table
    return [migrations.CreateModel(name, [*model.fields.items()], options=options)]


def _is_through(m: _Making, model: ModelState) -> bool:
    through = f"shop.{model.name_lower}"
    return any(
        f.many_to_many and str(f.remote_field.through).lower() == through
        for other in m.models()
        for f in other.fields.values()
    )


def _create_through(m: _Making) -> list[Operation]:
    name = m.pick(m.free_names())
    one, other = (m.model().name for _ in range(2))
    if name is None or one == other:
        return []
    return [
        migrations.CreateModel(
            name,
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("one", models.ForeignKey(f"shop.{one}".lower(), models.CASCADE, related_name="+")),
                ("other", models.ForeignKey(f"shop.{other}".lower(), models.CASCADE, related_name="+")),
            ],
        ),
        migrations.AddField(
            one,
            m.next("many"),
            models.ManyToManyField(f"shop.{other}".lower(), through=f"shop.{name}".lower(), related_name="+"),
        ),
    ]


def _delete_model(m: _Making) -> list[Operation]:
    pointed_at = {
        str(f.remote_field.model).lower()
        for model in m.models()
        for f in model.fields.values()
        if f.remote_field and str(f.remote_field.model).lower() != f"shop.{model.name_lower}"
    }
    model = m.pick(o for o in m.models() if f"shop.{o.name_lower}" not in pointed_at and not _is_through(m, o))
    return [migrations.DeleteModel(model.name)] if model else []


def _rename_model(m: _Making) -> list[Operation]:
    model, name = m.model(), m.pick(m.free_names())
    return [migrations.RenameModel(model.name, name)] if name else []


def _alter_table(m: _Making) -> list[Operation]:
    table = m.free_table()
    return [migrations.AlterModelTable(m.model().name, table)] if table else []


def _named_in_options(model: ModelState) -> set[str]:
    named = {n for together in model.options.get("unique_together", ()) for n in together}
    for part in (*model.options.get("indexes", ()), *model.options.get("constraints", ())):
        text = repr(part.deconstruct())
        named |= {n for n in model.fields if n in text}
    if ordered_by := model.options.get("order_with_respect_to"):
        named |= {ordered_by, "_order"}
    return named


def _plain_fields(m: _Making, model: ModelState) -> list[str]:
    """Return the fields that nothing else names: those that may be removed and renamed."""
    if _is_through(m, model):
        return []
    referred = {
        str(f.remote_field.field_name)
        for other in m.models()
        for f in other.fields.values()
        if f.remote_field
        and str(f.remote_field.model).lower() == f"shop.{model.name_lower}"
        and getattr(f.remote_field, "field_name", None)
    }
    taken = _named_in_options(model) | referred
    return [n for n, f in model.fields.items() if not f.primary_key and n not in taken]


def _add_field(m: _Making) -> list[Operation]:
    model = m.model()
    name = m.pick([m.next("field"), "again", "value"])
    return [] if name in model.fields else [migrations.AddField(model.name, name, _any_field(m, model))]


def _remove_field(m: _Making) -> list[Operation]:
    model = m.model()
    name = m.pick(_plain_fields(m, model))
    if name is None or len(model.fields) < 3:
        return []
    operations: list[Operation] = [migrations.RemoveField(model.name, name)]
    if m.maybe(3):
        operations.append(migrations.AddField(model.name, name, _scalar(m)))
    return operations


def _rename_field(m: _Making) -> list[Operation]:
    model = m.model()
    name = m.pick(_plain_fields(m, model))
    to = m.pick([m.next("renamed"), "again", "value"])
    return [] if name is None or to in model.fields else [migrations.RenameField(model.name, name, to)]


def _swap_fields(m: _Making) -> list[Operation]:
    model = m.model()
    one, two = m.pick(_plain_fields(m, model)), m.pick(_plain_fields(m, model))
    if one is None or one == two or model.fields[one].db_column or model.fields[two].db_column:
        return []
    return [migrations.RenameField(model.name, *names) for names in ((one, "aside"), (two, one), ("aside", two))]


def _alter_field(m: _Making) -> list[Operation]:
    model = m.model()
    if _is_through(m, model):
        return []
    name = m.pick(model.fields)
    old = model.fields[name]
    kept = {"db_column": old.db_column} if old.db_column else {}
    if old.many_to_many:
        return []
    if old.primary_key and not old.remote_field:
        options = [models.BigAutoField, models.AutoField, models.BigIntegerField]
        if not isinstance(old, models.AutoField | models.IntegerField):
            options = [lambda **k: models.CharField(max_length=99, **k), models.TextField]
        elif m.maybe(4):
            options = [lambda **k: models.CharField(max_length=99, **k)]
        return [migrations.AlterField(model.name, name, m.pick(options)(primary_key=True, **kept))]
    if old.remote_field:
        if old.primary_key:
            return []
        to = m.target() if m.maybe(4) else str(old.remote_field.model)
        null = old.null or m.maybe()
        made = models.ForeignKey(to, models.CASCADE, null=null, related_name="+", db_constraint=not m.maybe(4), **kept)
        return [migrations.AlterField(model.name, name, made)]
    named = name in _named_in_options(model)
    if isinstance(old, models.CharField | models.TextField) and m.maybe(4) and not named:
        made = models.CharField(max_length=60, unique=not old.unique, null=old.null, **kept)
        if not old.null:
            made.default = "was null"
        return [migrations.AlterField(model.name, name, made)]
    made = _scalar(m, **kept, db_index=m.maybe(4))
    return [migrations.AlterField(model.name, name, made)]


def _index(m: _Making, model: ModelState) -> models.Index:
    columns = [n for n, f in model.fields.items() if not f.many_to_many and not isinstance(f, models.JSONField)]
    texts = [n for n in columns if isinstance(model.fields[n], models.CharField | models.TextField)]
    one, two = m.pick(columns), m.pick(columns)
    name = m.next("index")
    kinds: list[Callable[[], models.Index]] = [
        lambda: models.Index(fields=[*dict.fromkeys([one, two])], name=name),
        lambda: models.Index(fields=[f"-{one}"], condition=Q(**{f"{two}__isnull": False}), name=name),
    ]
    if texts:
        kinds.append(lambda: models.Index(Lower(texts[0]).desc(), one, name=name))
    return m.pick(kinds)()


def _add_index(m: _Making) -> list[Operation]:
    model = m.model()
    return [migrations.AddIndex(model.name, _index(m, model))]


def _rename_index(m: _Making) -> list[Operation]:
    found = [(model.name, index.name) for model in m.models() for index in model.options.get("indexes", ())]
    chosen = m.pick(found)
    new = m.next("index")
    return [migrations.RenameIndex(chosen[0], old_name=chosen[1], new_name=new)] if chosen else []


def _remove_index(m: _Making) -> list[Operation]:
    found = [(model.name, index.name) for model in m.models() for index in model.options.get("indexes", ())]
    chosen = m.pick(found)
    return [migrations.RemoveIndex(*chosen)] if chosen else []


def check(condition: Q, name: str) -> models.CheckConstraint:
    """Return a check, which Django 5.1 gave another argument."""
    argument = "condition" if "condition" in inspect.signature(models.CheckConstraint).parameters else "check"
    return models.CheckConstraint(**{argument: condition}, name=name)


def _add_constraint(m: _Making) -> list[Operation]:
    model = m.model()
    columns = [n for n, f in model.fields.items() if not f.many_to_many and not isinstance(f, models.JSONField)]
    one, two = m.pick(columns), m.pick(columns)
    name = m.next("constraint")
    both = [*dict.fromkeys([one, two])]
    made = m.pick(
        [
            models.UniqueConstraint(fields=both, name=name),
            models.UniqueConstraint(fields=[one], condition=Q(**{f"{two}__isnull": True}), name=name),
            check(Q(**{f"{one}__isnull": False}) | Q(**{f"{two}__isnull": True}), name),
        ]
    )
    return [migrations.AddConstraint(model.name, made)]


def _remove_constraint(m: _Making) -> list[Operation]:
    found = [(model.name, one.name) for model in m.models() for one in model.options.get("constraints", ())]
    chosen = m.pick(found)
    return [migrations.RemoveConstraint(*chosen)] if chosen else []


def _unique_together(m: _Making) -> list[Operation]:
    model = m.model()
    columns = [n for n, f in model.fields.items() if not f.many_to_many]
    together = {tuple(dict.fromkeys([m.pick(columns), m.pick(columns)]))}
    if m.maybe() or any(len(names) < 2 for names in together):
        together = set()
    if together == set(map(tuple, model.options.get("unique_together", ()))):
        return []
    return [migrations.AlterUniqueTogether(model.name, together)]


def _order(m: _Making) -> list[Operation]:
    model = m.model()
    if model.options.get("order_with_respect_to"):
        return [migrations.AlterOrderWithRespectTo(model.name, None)]
    keys = [n for n, f in model.fields.items() if f.remote_field and not f.many_to_many and not f.unique]
    return [migrations.AlterOrderWithRespectTo(model.name, keys[0])] if keys and not _is_through(m, model) else []


def _run_sql(m: _Making) -> list[Operation]:
    """Code of the migration's own, with a reverse, with one that does nothing, or without."""
    model = m.model()
    table = (model.options.get("db_table") or f"shop_{model.name_lower}").strip('"')
    columns = {
        n: f.db_column or (f"{n}_id" if f.remote_field else n)
        for n, f in model.fields.items()
        if not f.many_to_many and not f.primary_key
    }
    name = m.pick(columns)
    if name is None:
        return []
    column = columns[name]
    # It runs again on the way forth again, and must name no row that was written since: that one it would delete too.
    key = next(f.db_column or (f"{n}_id" if f.remote_field else n) for n, f in model.fields.items() if f.primary_key)
    changes = [f'UPDATE "{table}" SET "{column}" = NULL', f'DELETE FROM "{table}" WHERE "{key}" IN {FROM_THE_START}']
    if isinstance(model.fields[name], models.CharField | models.TextField):
        changes.append(f'UPDATE "{table}" SET "{column}" = "{column}" || \' changed\'')
    if isinstance(model.fields[name], models.IntegerField | models.FloatField | models.DecimalField):
        changes.append(f'UPDATE "{table}" SET "{column}" = "{column}" + 1 WHERE rowid < 3')
    back = f'UPDATE "{table}" SET "{column}" = "{column}" WHERE rowid > 1'
    return [migrations.RunSQL(m.pick(changes), m.pick([None, migrations.RunSQL.noop, back]))]


_VERBS: dict[str, Callable[[_Making], list[Operation]]] = {
    "create model": _create_model,
    "create through": _create_through,
    "delete model": _delete_model,
    "rename model": _rename_model,
    "alter table": _alter_table,
    "add field": _add_field,
    "remove field": _remove_field,
    "rename field": _rename_field,
    "swap fields": _swap_fields,
    "alter field": _alter_field,
    "alter another field": _alter_field,
    "alter a third field": _alter_field,
    "add index": _add_index,
    "rename index": _rename_index,
    "remove index": _remove_index,
    "add constraint": _add_constraint,
    "remove constraint": _remove_constraint,
    "unique together": _unique_together,
    "order": _order,
    "run SQL": _run_sql,
}


# Rows


@dataclass
class Writer:
    """Writes rows of any models of one state; what a constraint refuses is not written."""

    apps: Any
    alias: str
    number: int = 100
    touched: set[tuple[str, Any]] = field(default_factory=set)

    def insert(self, each: int = 2) -> None:
        """Insert rows of every model, with every column and every reference filled that can be."""
        for model in _parents_first(_of_shop(self.apps)):
            for _ in range(each):
                self._insert_one(model)

    def update(self) -> None:
        """Update every column of one row of every model, one column at a time."""
        for model in _of_shop(self.apps):
            row = self._all(model).order_by("-pk").values_list("pk", flat=True).first()
            for column in model._meta.local_concrete_fields:
                if row is None or column.primary_key or _is_computed(column):
                    continue
                self.number += 1
                value = self._value(column)
                if value is None and not column.null:
                    continue
                try:
                    self._all(model).filter(pk=row).update(**{column.attname: value})
                except IntegrityError:
                    continue  # Another row has the value, or a check refuses it.
                self.touched.add((model._meta.db_table.strip('"'), row))

    def delete(self) -> None:
        """Delete the first row of every model, as its application would: with what hangs on it."""
        for model in _of_shop(self.apps):
            first = self._all(model).order_by("pk").first()
            if first is not None:
                first.delete(using=self.alias)

    def _insert_one(self, model: Any) -> None:
        self.number += 1
        fields = [f for f in model._meta.local_concrete_fields if not _is_computed(f)]
        values = {f.attname: self._value(f) for f in fields if not isinstance(f, models.AutoField)}
        if any(values.get(f.attname, 0) is None and not f.null for f in fields):
            return  # No parent is there to refer to.
        try:
            row = self._all(model).create(**values)
        except IntegrityError:
            return  # Another row has the values, or a check refuses them.
        for many in model._meta.local_many_to_many:
            if many.remote_field.through._meta.auto_created:
                getattr(row, many.name).add(*self._all(many.related_model)[:2])

    def _value(self, column: models.Field[Any, Any]) -> Any:
        n = self.number
        if column.remote_field is not None:
            return self._reference(column)
        makers: list[tuple[Any, Callable[[], Any]]] = [
            (models.CharField, lambda: f"{n}"),
            (models.TextField, lambda: ODD_TEXTS[n % len(ODD_TEXTS)] if not column.unique else f"0{n}"),
            (models.DecimalField, lambda: Decimal(n) + Decimal("0.25")),
            (models.BooleanField, lambda: n % 2 == 0),
            (models.DateTimeField, lambda: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=n)),
            (models.DateField, lambda: date(2020, 1, 1) + timedelta(days=n)),
            (models.DurationField, lambda: timedelta(seconds=n)),
            (models.JSONField, lambda: {"n": n}),
            (models.UUIDField, lambda: uuid.UUID(int=n)),
            (models.BinaryField, lambda: str(n).encode()),
            (models.FloatField, lambda: n + 0.5),
            (models.PositiveIntegerField, lambda: n),
            (models.PositiveSmallIntegerField, lambda: n),
            (models.IntegerField, lambda: n if n % 3 else -n),
        ]
        if column.null and n % 7 == 0:
            return None
        return next(make() for kind, make in makers if isinstance(column, kind))

    def _reference(self, column: Any) -> Any:
        keys = [*self._all(column.related_model).order_by("pk").values_list(column.target_field.attname, flat=True)]
        if column.unique:
            used = set(self._all(column.model).values_list(column.attname, flat=True))
            keys = [key for key in keys if key not in used]
        return keys[self.number % len(keys)] if keys else None

    def _all(self, model: Any) -> Any:
        return model._base_manager.using(self.alias)


def _is_computed(column: Any) -> bool:
    return bool(getattr(column, "generated", False))


def _of_shop(apps: Any) -> list[Any]:
    return [m for m in apps.get_models() if m._meta.app_label == "shop"]


def _parents_first(found: list[Any]) -> list[Any]:
    ordered: list[Any] = []
    while len(ordered) < len(found):
        ready = [m for m in found if m not in ordered and _needs(m) <= {o._meta.label for o in ordered}]
        ordered += ready or [m for m in found if m not in ordered][:1]
    return ordered


def _needs(model: Any) -> set[str]:
    return {
        f.related_model._meta.label
        for f in model._meta.local_concrete_fields
        if f.remote_field and not f.null and f.related_model is not model
    }


# Databases


@dataclass(frozen=True)
class Contents:
    """What a database file holds of the app: each table's columns and indexes, and its rows as SQLite stores them."""

    shapes: dict[str, list[str]]
    rows: dict[str, dict[Any, dict[str, str]]]


def contents(path: Path) -> Contents:
    """Read a file; whatever stock Django leaves to chance is in order: columns, tables and rows."""
    connection = sqlite3.connect(path)
    try:
        shapes: dict[str, list[str]] = {}
        rows: dict[str, dict[Any, dict[str, str]]] = {}
        master = "SELECT name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name"
        for name, table, sql in connection.execute(master).fetchall():
            if table.startswith(("sqlite_", "segue_", "django_", "auth_")):
                continue
            # Stock does not tell the sizes of whole numbers apart when it goes back, nor does SQLite.
            shapes.setdefault(table, []).extend(_parts(sql.replace("bigint", "integer")) if name == table else [sql])
            if name == table:
                rows[table] = _rows(connection, table)
        return Contents({table: sorted(shape) for table, shape in shapes.items()}, rows)
    finally:
        connection.close()


def nameless(found: Contents) -> Contents:
    """Return the shapes alone, without the names that stock makes of its tables' and leaves when these change."""
    return Contents(
        {t: sorted(re.sub(r'"[^"]*_[0-9a-f]{8}(_uniq)?"', "...", part) for part in s) for t, s in found.shapes.items()},
        {},
    )


def _rows(connection: sqlite3.Connection, table: str) -> dict[Any, dict[str, str]]:
    info = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
    columns = [column[1] for column in info]
    key = [number for number, column in enumerate(info) if column[5]] or [*range(len(info))]
    literals = ", ".join(f'quote("{column}")' for column in columns)
    found = connection.execute(f'SELECT {literals} FROM "{table}"').fetchall()
    return {tuple(row[n] for n in key): dict(zip(columns, row, strict=True)) for row in found}


def _parts(sql: str) -> list[str]:
    """Return the definitions between a CREATE TABLE's outer parentheses."""
    body, depth, quote, parts = sql[sql.index("(") + 1 : sql.rindex(")")], 0, "", [""]
    for character in body:
        if quote or character in "'\"":
            quote = "" if character == quote else quote or character
        depth += {"(": 1, ")": -1}.get(character, 0) if not quote else 0
        if character == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def differences(ours: Contents, theirs: Contents) -> list[str]:
    """Return how two databases differ, as sentences."""
    found = []
    for table in sorted({*ours.shapes, *theirs.shapes}):
        one, other = (set(c.shapes.get(table, ())) for c in (ours, theirs))
        found += [f"{table} has {part}" for part in sorted(one - other)]
        found += [f"{table} has not {part}" for part in sorted(other - one)]
        found += missing(theirs, ours, table)
        found += [
            f"{table}: row {key} is too many" for key in {*ours.rows.get(table, ())} - {*theirs.rows.get(table, ())}
        ]
    return found


def missing(before: Contents, now: Contents, table: str) -> list[str]:
    """Return each value of a table that is not there any more, as a sentence."""
    found = []
    for key, row in before.rows.get(table, {}).items():
        other = now.rows.get(table, {}).get(key)
        if other is None:
            found.append(f"{table}: row {key} is gone: {row}")
        elif other != row:
            changed = {c: (v, other.get(c)) for c, v in row.items() if other.get(c) != v}
            found.append(f"{table}: row {key} was and is {changed}")
    return found
