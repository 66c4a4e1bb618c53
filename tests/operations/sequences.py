"""Random but valid sequences of operations, rows for any models, and what the rows of a database are.

Owns the strategies and the helpers of test_random_sequences.py; asserts nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import django
import psycopg
from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex, GinIndex
from django.db import connections, migrations, models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.operations.base import Operation
from django.db.migrations.questioner import MigrationQuestioner
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import NOT_PROVIDED, Q, Value
from django.db.models.functions import Lower, Now
from django.test.utils import override_settings
from django.utils import timezone
from hypothesis import strategies as st
from psycopg import sql

from segue.core.change import Alias
from segue.engines.names import physical_names
from segue.engines.postgresql.server import Server
from tests.project import Project

Rows = dict[str, dict[Any, dict[str, Any]]]

LONG = "a_name_that_is_longer_than_sixty_bytes_and_needs_to_be_cut_by_a_hash_"
MODEL_NAMES = ("Shelf", "Loan", "Card", "Ünïcode", "Review" * 9)
TABLES = (None, None, None, "Capital Letters", "Größe", "select", LONG)
COLUMNS = (None, None, None, "order", "Capital", "größe", "two words", LONG[:60])


def shout() -> str:
    """Return a default that Django has to call."""
    return "called"


BASE = (
    migrations.CreateModel(
        "Author",
        [
            ("id", models.BigAutoField(primary_key=True)),
            ("name", models.CharField(max_length=50)),
            ("born", models.DateTimeField(null=True)),
            ("rank", models.IntegerField(default=0)),
        ],
    ),
    migrations.CreateModel(
        "Tag",
        [
            ("id", models.UUIDField(primary_key=True, default=uuid.uuid4)),
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
            ("tags", models.ManyToManyField("shop.tag")),
        ],
        options={"indexes": [models.Index(fields=["price", "title"], name="price_title")]},
    ),
)


def base_state() -> ProjectState:
    """Return the state that every sequence starts from."""
    return _after(ProjectState(), BASE)


def _after(state: ProjectState, operations: Any) -> ProjectState:
    state = state.clone()
    for operation in operations:
        operation.state_forwards("shop", state)
    return state


_BASE_MODELS = base_state().models


# Sequences


@dataclass
class Generated:
    """Migrations to come after the base, each a list of operations; `before` are those that old code has already."""

    migrations: list[list[Operation]]
    before: list[Operation] = field(default_factory=list)

    def __repr__(self) -> str:
        numbered = [("before", self.before), *enumerate(self.migrations, start=3 if self.before else 2)]
        return "\n".join(
            f"migration {number}:\n" + "\n".join(f"    {_shown(op)}" for op in operations)
            for number, operations in numbered
            if operations
        )

    def old_state(self) -> ProjectState:
        """Return the state that old code has."""
        return _after(base_state(), self.before)

    def state(self) -> ProjectState:
        """Return the state after all of them."""
        return _after(self.old_state(), [op for ops in self.migrations for op in ops])

    def in_new_code(self, found: Rows) -> Rows:
        """Return the rows of old code's models by the labels that new code has for the same models."""
        labels = {label.lower(): label for label in found}
        for operation in (op for ops in self.migrations for op in ops):
            if isinstance(operation, migrations.RenameModel):
                moved = labels.pop(f"shop.{operation.old_name_lower}", None)
                labels |= {f"shop.{operation.new_name_lower}": moved} if moved else {}
            if isinstance(operation, migrations.DeleteModel):
                labels.pop(f"shop.{operation.name_lower}", None)
        models_now = [model for model in shop_models(self.state().apps) if model._meta.label_lower in labels]
        return {model._meta.label: found[labels[model._meta.label_lower]] for model in models_now}


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


@st.composite
def sequences(draw: st.DrawFn, *, reusing_names: bool) -> Generated:
    """One to eight operations, each valid after those before it, in one to three migrations.

    `reusing_names` lets a field that was removed or renamed, or a model that was removed, be followed by another of its
    name.
    """
    state = base_state()
    names = Names(reusing=reusing_names)
    operations = _operations(draw, state, names, at_most=8) or _add_field(draw, state, names)
    cuts = sorted(draw(st.sets(st.integers(0, len(operations)), max_size=2)))
    parts = [operations[a:b] for a, b in zip([0, *cuts], [*cuts, len(operations)], strict=True)]
    return Generated(migrations=[part for part in parts if part])


@st.composite
def evolutions(draw: st.DrawFn) -> Generated:
    """Two random states, and the migrations that Django's autodetector makes to get from one to the other."""
    names = Names(reusing=False, detected=True)
    before = _operations(draw, base_state(), names, at_most=3)
    old = _after(base_state(), before)
    operations = _operations(draw, old, names, at_most=8)
    if not operations:
        operations = _add_field(draw, old, names) if old.models else _create_model(draw, old, names)
    found = _detected(old, _after(old, operations), renames=draw(st.booleans()))
    return Generated(before=before, migrations=found or [operations])


def _operations(draw: st.DrawFn, state: ProjectState, names: Names, *, at_most: int) -> list[Operation]:
    operations: list[Operation] = []
    for _ in range(draw(st.integers(0, at_most))):
        verb = draw(st.sampled_from([*_VERBS] if state.models else ["create model"]))
        made = _VERBS[verb](draw, state, names)
        operations += made
        state = _after(state, made)
    return operations


class _Developer(MigrationQuestioner):
    """Answers makemigrations: what has no default and may not be empty was renamed, or it could not be added."""

    def __init__(self, *, renames: bool) -> None:
        super().__init__()
        self._renames = renames

    def ask_rename(self, model_name: str, old_name: str, new_name: str, field_instance: Any) -> bool:
        return self._renames or not (field_instance.null or field_instance.has_default())

    def ask_rename_model(self, old_model_state: Any, new_model_state: Any) -> bool:
        return True

    def ask_auto_now_add_addition(self, field_name: str, model_name: str) -> Any:
        return timezone.now


def _detected(old: ProjectState, new: ProjectState, *, renames: bool) -> list[list[Operation]]:
    """Return the operations of each migration that is found; none where rows would need an answer of their own."""
    changes = MigrationAutodetector(_as_written(old), _as_written(new), _Developer(renames=renames))._detect_changes()
    found = [migration.operations for migration in changes.get("shop", [])]
    every = [operation for operations in found for operation in operations]
    return found if _can_be_carried_out(every, old) else []


def _can_be_carried_out(operations: list[Operation], old: ProjectState) -> bool:
    """Whether stock can do it, with one outcome: the autodetector may sort an index before the rename of its model.

    Segue gives a column that goes and comes again in one release its values back.
    """
    state, gone = old.clone(), set[str | None]()
    for operation in operations:
        if not _rows_can_bear(operation, state) or _column_added(operation) in gone - {None}:
            return False
        if isinstance(operation, migrations.RemoveField):
            gone.add(state.models["shop", operation.model_name_lower].fields[operation.name].db_column)
        try:
            operation.state_forwards("shop", state)
        except KeyError:
            return False
    return True


def _column_added(operation: Operation) -> str | None:
    return operation.field.db_column if isinstance(operation, migrations.AddField) else None


def _as_written(state: ProjectState) -> ProjectState:
    """The state as models say it: RenameField leaves lists of lists in unique_together, which cannot be compared."""
    state = state.clone()
    for model in state.models.values():
        if together := model.options.get("unique_together"):
            model.options["unique_together"] = {tuple(names) for names in together}
    return state


def _rows_can_bear(operation: Operation, state: ProjectState) -> bool:
    """Whether an operation has a value for every row, and no reference that is suddenly to another table's rows."""
    if isinstance(operation, migrations.AddField):
        added = operation.field
        given = getattr(added, "db_default", NOT_PROVIDED) is not NOT_PROVIDED or added.has_default()
        # Stock would give every row the same value of a new primary key.
        bearable = added.many_to_many or added.null or (given and added.default is not None)
        return bool(bearable and not getattr(added, "primary_key", False))
    if isinstance(operation, migrations.AlterField) and operation.field.remote_field:
        model = state.models.get(("shop", operation.model_name_lower))
        before = model.fields.get(operation.name) if model else None
        return before is None or _target(before) == _target(operation.field)
    return True


def _target(key: Any) -> str:
    return str(key.remote_field.model).lower()


@dataclass
class Names:
    """Numbers what needs a name of its own; `detected` says that the autodetector is to find what is drawn.

    `astray` are renamed fields whose models have an index or a constraint that still says the old name: nobody can make
    such a table, neither stock. `beside` are fields with the name of a column that old code has: until finalize they
    stay as they are.
    """

    reusing: bool
    detected: bool = False
    number: int = 0
    models: set[str] = field(default_factory=set)
    astray: set[str] = field(default_factory=set)
    beside: set[str] = field(default_factory=set)

    def free_models(self, state: ProjectState) -> list[str]:
        """Return the names that a new model can have."""
        free = [name for name in MODEL_NAMES if ("shop", name.lower()) not in state.models]
        return free if self.reusing else [name for name in free if name not in self.models]

    def next(self, stem: str) -> str:
        """Return a name that no other object of the sequence has."""
        self.number += 1
        return f"{stem}{self.number}"


def _models(state: ProjectState) -> list[ModelState]:
    return [state.models[key] for key in sorted(state.models)]


def _pick(draw: st.DrawFn, choices: Any) -> Any:
    choices = list(choices)
    return draw(st.sampled_from(choices)) if choices else None


def _column(draw: st.DrawFn, model: ModelState | None) -> dict[str, str]:
    taken = {f.db_column for f in model.fields.values()} if model else set()
    column = draw(st.sampled_from(COLUMNS))
    return {} if column is None or column in taken else {"db_column": column}


def _simple_field(draw: st.DrawFn, model: ModelState | None) -> models.Field[Any, Any]:
    """Return a field that a table with rows can get: nullable, or with a default of some kind."""
    extra: dict[str, Any] = {**_column(draw, model), "db_index": draw(st.booleans())}
    kinds: list[Any] = [
        lambda: models.CharField(max_length=40, null=True, **extra),
        lambda: models.CharField(max_length=40, default="it's 100%", **extra),
        lambda: models.CharField(max_length=40, default=shout, **extra),
        lambda: models.CharField(max_length=40, blank=True, **extra),
        lambda: models.TextField(default="", **extra),
        lambda: models.TextField(null=True, default="null or not", **extra),
        lambda: models.IntegerField(null=True, **extra),
        lambda: models.IntegerField(default=-7, **extra),
        lambda: models.BooleanField(default=True, **extra),
        lambda: models.DecimalField(max_digits=9, decimal_places=3, default=Decimal("1.500"), **extra),
        lambda: models.DateTimeField(auto_now_add=True, default=timezone.now, **extra),
        lambda: models.DateTimeField(null=True, **extra),
        lambda: models.JSONField(default=dict, **{**extra, "db_index": False}),
        lambda: models.JSONField(null=True, **{**extra, "db_index": False}),
        lambda: models.UUIDField(default=uuid.uuid4, **extra),
        lambda: models.UUIDField(null=True, **extra),
        lambda: models.BinaryField(default=b"\x00%s", **{**extra, "db_index": False}),
        lambda: models.DurationField(default=timedelta(days=1, microseconds=5), **extra),
        lambda: models.CharField(max_length=40, null=True, unique=True, **_column(draw, model)),
        lambda: models.PositiveIntegerField(default=3, **extra),
        lambda: models.PositiveSmallIntegerField(null=True, **extra),
    ]
    if django.VERSION >= (5, 0):
        kinds += [
            lambda: models.IntegerField(db_default=Value(42), **extra),
            lambda: models.CharField(max_length=40, db_default="in the database", **extra),
            lambda: models.DateTimeField(db_default=Now(), **extra),
            lambda: models.IntegerField(default=1, db_default=2, **extra),
        ]
    made = draw(st.sampled_from(kinds))()
    if isinstance(made, models.DateTimeField) and made.auto_now_add:
        # Django's own makemigrations writes the one-off default beside auto_now_add like this.
        made = models.DateTimeField(auto_now_add=True, **extra)
    assert isinstance(made, models.Field)
    return made


def _foreign_key(draw: st.DrawFn, model: ModelState | None, to: str, *, null: bool) -> models.Field[Any, Any]:
    extra: dict[str, Any] = {**_column(draw, model), "related_name": "+", "db_constraint": True}
    if null:
        on_delete = draw(st.sampled_from([models.SET_NULL, models.CASCADE]))
        one = draw(st.integers(0, 4)) == 0
        kind = models.OneToOneField if one else models.ForeignKey
        if not one and draw(st.integers(0, 4)) == 0:
            extra["db_index"] = False
        return kind(to, on_delete, null=True, **extra)
    return models.ForeignKey(to, draw(st.sampled_from([models.CASCADE, models.PROTECT])), **extra)


def _create_model(draw: st.DrawFn, state: ProjectState, names: Names) -> list[Operation]:
    free = names.free_models(state)
    if not free:
        return []
    name = draw(st.sampled_from(free))
    names.models.add(name)
    tables = {m.options.get("db_table") for m in _models(state)}
    model = ModelState("shop", name, [])
    model.fields["id"] = draw(
        st.sampled_from(
            [
                models.BigAutoField(primary_key=True),
                models.AutoField(primary_key=True),
                models.UUIDField(primary_key=True, default=uuid.uuid4),
                models.CharField(max_length=20, primary_key=True),
            ]
        )
    )
    for _ in range(draw(st.integers(1, 3))):
        model.fields[names.next("field")] = _simple_field(draw, model)
    for _ in range(draw(st.integers(0, 2))):
        if to := _pick(draw, [m.name for m in _models(state)]):
            null = draw(st.booleans())
            model.fields[names.next("key")] = _foreign_key(draw, model, f"shop.{to}".lower(), null=null)
    if draw(st.integers(0, 4)) == 0:
        model.fields[names.next("key")] = models.ForeignKey(f"shop.{name}".lower(), models.CASCADE, null=True)
    to = _pick(draw, [m.name for m in _models(state)])
    if to and draw(st.integers(0, 2)) == 0:
        model.fields[names.next("many")] = models.ManyToManyField(f"shop.{to}".lower(), related_name="+")
    options: dict[str, Any] = {}
    table = draw(st.sampled_from(TABLES))
    if table is not None and table not in tables:
        options["db_table"] = table
    unique = [n for n, f in model.fields.items() if _is_unique_by_number(f)]
    if unique and draw(st.booleans()):
        options["unique_together"] = {(unique[0], [*model.fields][-1 if not _is_many(model, -1) else 1])}
        if len(next(iter(options["unique_together"]))) != len(set(next(iter(options["unique_together"])))):
            del options["unique_together"]
    if unique and draw(st.booleans()):
        condition = draw(st.sampled_from([None, Q(**{f"{unique[0]}__isnull": False})]))
        options["constraints"] = [
            models.UniqueConstraint(fields=[unique[0]], name=names.next("unique"), condition=condition)
        ]
    options["indexes"] = [_index(draw, model, names) for _ in range(draw(st.integers(0, 2)))]
    return [migrations.CreateModel(name, [*model.fields.items()], options=options)]


def _is_many(model: ModelState, place: int) -> bool:
    return bool([*model.fields.values()][place].many_to_many)


def _is_unique_by_number(field: models.Field[Any, Any]) -> bool:
    return type(field) in (models.CharField, models.TextField, models.IntegerField, models.DecimalField) and (
        not field.primary_key
    )


def _create_through(draw: st.DrawFn, state: ProjectState, names: Names) -> list[Operation]:
    """A model with two foreign keys, and a ManyToManyField through it."""
    free = names.free_models(state)
    if not free:
        return []
    name = draw(st.sampled_from(free))
    names.models.add(name)
    one, other = (_pick(draw, [m.name for m in _models(state)]) for _ in range(2))
    if one == other:
        return []
    return [
        migrations.CreateModel(
            name,
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("one", models.ForeignKey(f"shop.{one}".lower(), models.CASCADE, related_name="+")),
                ("other", models.ForeignKey(f"shop.{other}".lower(), models.CASCADE, related_name="+")),
                ("since", models.DateTimeField(auto_now_add=True)),
            ],
            options={"unique_together": {("one", "other")}},
        ),
        migrations.AddField(
            one,
            names.next("many"),
            models.ManyToManyField(f"shop.{other}".lower(), through=f"shop.{name}".lower(), related_name="+"),
        ),
    ]


def _add_field(draw: st.DrawFn, state: ProjectState, names: Names) -> list[Operation]:
    model = _pick(draw, _models(state))
    name = draw(st.sampled_from([names.next("field"), *(["again"] if names.reusing else [])]))
    if name in model.fields:
        return []
    kind = draw(st.integers(0, 5))
    if kind == 0:
        to = _pick(draw, [m.name for m in _models(state)])
        return [migrations.AddField(model.name, name, models.ManyToManyField(f"shop.{to}".lower(), related_name="+"))]
    if kind == 1:
        to = _pick(draw, [m.name for m in _models(state)])
        key = _foreign_key(draw, model, f"shop.{to}".lower(), null=True)
        return [migrations.AddField(model.name, name, key)]
    made = _simple_field(draw, model)
    if getattr(made, "auto_now_add", False):
        made.default = timezone.now
        return [migrations.AddField(model.name, name, made, preserve_default=False)]
    return [migrations.AddField(model.name, name, made)]


def _add_index(draw: st.DrawFn, state: ProjectState, names: Names) -> list[Operation]:
    model = _pick(draw, _models(state))
    return [migrations.AddIndex(model.name, _index(draw, model, names))]


def _index(draw: st.DrawFn, model: ModelState, names: Names) -> models.Index:
    columns = [n for n, f in model.fields.items() if not f.many_to_many and not isinstance(f, models.JSONField)]
    texts = [n for n in columns if isinstance(model.fields[n], models.CharField | models.TextField)]
    jsons = [n for n, f in model.fields.items() if isinstance(f, models.JSONField)]
    one, two = _pick(draw, columns), _pick(draw, columns)
    name = names.next("index")
    kinds: list[Any] = [
        lambda: models.Index(fields=[one], name=name),
        lambda: models.Index(fields=[*dict.fromkeys([one, two])], name=name),
        lambda: models.Index(fields=[one], condition=Q(**{f"{two}__isnull": False}), name=name),
        lambda: models.Index(fields=[f"-{one}"], name=name),
        lambda: models.Index(fields=[one], include=[c for c in columns if c != one][:1], name=name),
        lambda: BrinIndex(fields=["id"], name=name),
    ]
    if texts:
        text = texts[0]
        opclass = "text_pattern_ops" if isinstance(model.fields[text], models.TextField) else "varchar_pattern_ops"
        kinds += [
            lambda: models.Index(Lower(text), name=name),
            lambda: models.Index(Lower(text).desc(), one, name=name),
            lambda: models.Index(fields=[text], opclasses=[opclass], name=name),
            lambda: models.Index(fields=["id"], condition=Q(**{f"{text}__startswith": "10%"}), name=name),
        ]
    if jsons:
        kinds += [lambda: GinIndex(fields=[jsons[0]], name=name)]
    made = draw(st.sampled_from(kinds))()
    assert isinstance(made, models.Index)
    return made


def _remove_field(draw: st.DrawFn, state: ProjectState, names: Names) -> list[Operation]:
    model = _pick(draw, _models(state))
    if _is_through(state, model):
        return []
    needed = _named_in_options(model) | names.astray | names.beside
    name = _pick(draw, [n for n, f in model.fields.items() if not f.primary_key and n not in needed])
    operations: list[Operation] = []
    if name is not None:
        operations.append(migrations.RemoveField(model.name, name))
        # One of the same type would be the removed one again, with its values, which stock does not have.
        if names.reusing and draw(st.booleans()):
            again = _another(draw, model, name, names)
            if type(again.field) is not type(model.fields[name]):
                operations.append(again)
    return operations


def _named_in_options(model: ModelState) -> set[str]:
    named = {n for together in model.options.get("unique_together", ()) for n in together}
    for part in (*model.options.get("constraints", ()), *model.options.get("indexes", ())):
        text = repr(part.deconstruct())
        named |= {n for n in model.fields if n in text}
    return named


def _is_through(state: ProjectState, model: ModelState) -> bool:
    through = f"shop.{model.name}".lower()
    return any(
        f.many_to_many and str(f.remote_field.through).lower() == through
        for m in _models(state)
        for f in m.fields.values()
        if f.many_to_many and f.remote_field.through
    )


def _remove_index(draw: st.DrawFn, state: ProjectState, names: Names) -> list[Operation]:
    found = [(m.name, index.name) for m in _models(state) for index in m.options.get("indexes", ())]
    chosen = _pick(draw, found)
    return [migrations.RemoveIndex(*chosen)] if chosen else []


def _delete_model(draw: st.DrawFn, state: ProjectState, names: Names) -> list[Operation]:
    pointed_at = {
        str(f.remote_field.model).lower()
        for m in _models(state)
        for f in m.fields.values()
        if f.remote_field and str(f.remote_field.model).lower() != f"shop.{m.name}".lower()
    }
    free = [m for m in _models(state) if f"shop.{m.name}".lower() not in pointed_at and not _is_through(state, m)]
    model = _pick(draw, [m for m in free if names.astray.isdisjoint(m.fields)])
    return [migrations.DeleteModel(model.name)] if model else []


def _rename_field(draw: st.DrawFn, state: ProjectState, names: Names) -> list[Operation]:
    model = _pick(draw, _models(state))
    # RenameField leaves the model's indexes and constraints as they are: who runs makemigrations has changed them too.
    # And a condition of an index that stock still defers, as it does those of a new model, keeps the old name.
    is_new = ("shop", model.name_lower) not in _BASE_MODELS
    fixed = (_named_in_options(model) if names.detected or is_new else set()) | names.beside
    name = _pick(draw, [n for n, f in model.fields.items() if not f.many_to_many and n not in fixed])
    if name is None:
        return []
    to = names.next("renamed")
    renamed: list[Operation] = [migrations.RenameField(model.name, name, to)]
    if name in _named_in_options(model) | names.astray:
        names.astray.add(to)
    elif names.reusing and not model.fields[name].primary_key and draw(st.integers(0, 2)) == 0:
        another = _another(draw, model, name, names)
        # The renamed one's index keeps its name, which stock would give to the other's too.
        if not (_is_indexed(model.fields[name]) and _is_indexed(another.field)):
            renamed.append(another)
    return renamed


def _is_indexed(field: models.Field[Any, Any]) -> bool:
    return bool(field.db_index or field.unique)


def _another(draw: st.DrawFn, model: ModelState, name: str, names: Names) -> migrations.AddField:
    """Another field under a name that one has given up."""
    made = _simple_field(draw, model)
    if getattr(made, "auto_now_add", False):
        made.default = timezone.now
    if _is_old_codes(model, name):
        names.beside.add(name)
    return migrations.AddField(model.name, name, made)


def _is_old_codes(model: ModelState, name: str) -> bool:
    old = _BASE_MODELS.get(("shop", model.name_lower))
    return old is None or name in old.fields


def _rename_model(draw: st.DrawFn, state: ProjectState, names: Names) -> list[Operation]:
    model = _pick(draw, [m for m in _models(state) if not _is_through(state, m)])
    return [migrations.RenameModel(model.name, names.next("Renamed"))] if model else []


def _alter_table(draw: st.DrawFn, state: ProjectState, names: Names) -> list[Operation]:
    model = _pick(draw, _models(state))
    return [
        migrations.AlterModelTable(model.name, draw(st.sampled_from([names.next("Table "), names.next("x") + LONG])))
    ]


def _alter_field(draw: st.DrawFn, state: ProjectState, names: Names) -> list[Operation]:
    """Another form of a field that its rows can take, and those that old code goes on writing."""
    model = _pick(draw, _models(state))
    name = _pick(draw, [n for n, f in model.fields.items() if not f.many_to_many and n not in names.beside])
    altered = _altered(draw, model.fields[name])
    return [migrations.AlterField(model.name, name, altered)] if altered else []


def _altered(draw: st.DrawFn, field: models.Field[Any, Any]) -> models.Field[Any, Any] | None:
    _, _, args, kwargs = field.deconstruct()
    if isinstance(field, models.AutoField) and type(field) is models.AutoField:
        return models.BigAutoField(primary_key=True)
    if field.primary_key:
        return None
    changes: list[Any] = [lambda: type(field)(*args, **{**kwargs, "help_text": "nothing of the database's"})]
    if not field.unique and not isinstance(field, models.JSONField | models.BinaryField):
        changes.append(lambda: type(field)(*args, **{**kwargs, "db_index": not field.db_index}))
    if not field.null:
        changes.append(lambda: type(field)(*args, **{**kwargs, "null": True}))
    elif not field.remote_field and not field.unique and field.has_default():
        changes.append(lambda: type(field)(*args, **{**kwargs, "null": False}))
    if field.remote_field:
        on_delete = models.CASCADE if field.null else models.PROTECT
        changes.append(lambda: type(field)(*args, **{**kwargs, "on_delete": on_delete}))
    if type(field) is models.CharField and "db_default" not in kwargs:
        changes.append(lambda: models.CharField(*args, **{**kwargs, "max_length": 120}))
        changes.append(lambda: models.TextField(*args, **{k: v for k, v in kwargs.items() if k != "max_length"}))
    if type(field) in (models.IntegerField, models.PositiveIntegerField, models.PositiveSmallIntegerField):
        changes.append(lambda: models.BigIntegerField(*args, **kwargs))
    if type(field) is models.DecimalField:
        changes.append(lambda: models.DecimalField(*args, **{**kwargs, "max_digits": 14, "decimal_places": 4}))
    made = draw(st.sampled_from(changes))()
    assert isinstance(made, models.Field)
    return made


def _add_constraint(draw: st.DrawFn, state: ProjectState, names: Names) -> list[Operation]:
    model = _pick(draw, _models(state))
    numbers = [n for n, f in model.fields.items() if isinstance(f, models.IntegerField | models.DecimalField)]
    # Below what the column's own type takes Django makes no check at all.
    small = (models.SmallIntegerField, models.PositiveIntegerField, models.PositiveSmallIntegerField)
    kinds: list[Any] = [
        lambda: models.UniqueConstraint(fields=["id"], name=names.next("only")) if "id" in model.fields else None
    ]
    if numbers:
        wide = {f"{numbers[0]}__gte": 1 if isinstance(model.fields[numbers[0]], small) else -1_000_000}
        check = "condition" if django.VERSION >= (5, 1) else "check"
        kinds.append(lambda: models.CheckConstraint(name=names.next("check"), **{check: Q(**wide)}))
    made = draw(st.sampled_from(kinds))()
    return [migrations.AddConstraint(model.name, made)] if made else []


_VERBS: dict[str, Any] = {
    "rename field": _rename_field,
    "rename model": _rename_model,
    "alter table": _alter_table,
    "alter field": _alter_field,
    "alter another field": _alter_field,
    "add constraint": _add_constraint,
    "add field": _add_field,
    "add another field": _add_field,
    "create model": _create_model,
    "create through": _create_through,
    "add index": _add_index,
    "remove field": _remove_field,
    "remove index": _remove_index,
    "delete model": _delete_model,
}


# Rows


@dataclass
class Writer:
    """Writes rows of any models of one state, every value different from those before."""

    apps: Any
    alias: str = "default"
    number: int = 100
    written: list[Any] = field(default_factory=list)

    def insert(self, each: int = 2) -> None:
        """Insert rows of every model, with every column and every reference filled that can be."""
        for model in parents_first(shop_models(self.apps)):
            for _ in range(each):
                self._insert_one(model)

    def update(self) -> None:
        """Update every column of one row of every model, one column at a time."""
        for model in shop_models(self.apps):
            row = self._all(model).order_by("pk").last()
            for column in model._meta.local_concrete_fields:
                if row is None or column.primary_key or isinstance(column, models.OneToOneField):
                    continue
                self.number += 1
                value = self._value(column)
                if value is not None:
                    self._all(model).filter(pk=row.pk).update(**{column.attname: value})

    def _insert_one(self, model: Any) -> None:
        self.number += 1
        values = {f.attname: self._value(f) for f in model._meta.local_concrete_fields if not _fills_itself(f)}
        if any(values.get(f.attname, 0) is None and not f.null for f in model._meta.local_concrete_fields):
            return  # No parent is there to refer to.
        row = self._all(model).create(**values)
        self.written.append(row)
        for many in model._meta.local_many_to_many:
            if many.remote_field.through._meta.auto_created:
                self._add_many(row, many)

    def _add_many(self, row: Any, many: Any) -> None:
        getattr(row, many.name).add(*self._all(many.related_model)[:2])

    def _value(self, column: models.Field[Any, Any]) -> Any:
        n = self.number
        if column.remote_field is not None:
            return self._reference(column)
        # The state's fields may be subclasses: the first that fits wins.
        makers: list[tuple[Any, Any]] = [
            (models.CharField, lambda: f"{n} '%s' ü"),
            (models.TextField, lambda: f"{n} text"),
            (models.DecimalField, lambda: Decimal(n) + Decimal("0.25")),
            (models.BooleanField, lambda: n % 2 == 0),
            (models.DateTimeField, lambda: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=n)),
            (models.DurationField, lambda: timedelta(seconds=n)),
            (models.JSONField, lambda: {"n": n}),
            (models.UUIDField, lambda: uuid.UUID(int=n)),
            (models.BinaryField, lambda: str(n).encode()),
            (models.IntegerField, lambda: n),
        ]
        return next(make() for kind, make in makers if isinstance(column, kind))

    def _reference(self, column: Any) -> Any:
        parents = self._all(column.related_model).order_by("pk").values_list("pk", flat=True)
        keys = [*parents]
        if column.unique or self._is_unique_with_others(column):
            used = self._all(column.model).values_list(column.attname, flat=True)
            keys = [key for key in keys if key not in set(used)]
        return keys[self.number % len(keys)] if keys else None

    def _is_unique_with_others(self, column: Any) -> bool:
        return any(column.name in together for together in column.model._meta.unique_together)

    def _all(self, model: Any) -> Any:
        return model._base_manager.using(self.alias)


def _fills_itself(column: models.Field[Any, Any]) -> bool:
    return isinstance(column, models.AutoField | models.BigAutoField)


def shop_models(apps: Any, *, implicit: bool = False) -> list[Any]:
    """Return the models of a state, those of many-to-many tables too if wanted."""
    return [m for m in apps.get_models(include_auto_created=implicit) if m._meta.app_label == "shop"]


def parents_first(found: list[Any]) -> list[Any]:
    """Return the models so that a row of each can refer to rows of those before it."""
    ordered: list[Any] = []
    while len(ordered) < len(found):
        ready = [m for m in found if m not in ordered and _needs(m) <= {o._meta.label for o in ordered}]
        ordered += ready
        if not ready:
            raise AssertionError(f"a circle of references among {found}")
    return ordered


def _needs(model: Any) -> set[str]:
    return {
        f.related_model._meta.label
        for f in model._meta.local_concrete_fields
        if f.remote_field and not f.null and f.related_model is not model
    }


def rows(apps: Any, alias: str = "default") -> Rows:
    """Return every value of every row that the models of a state can see: model, primary key, attribute."""
    found: Rows = {}
    for model in shop_models(apps, implicit=True):
        columns = [f.attname for f in model._meta.local_concrete_fields]
        found[model._meta.label] = {
            row[model._meta.pk.attname]: {k: bytes(v) if isinstance(v, memoryview) else v for k, v in row.items()}
            for row in model._base_manager.using(alias).values(*columns)
        }
    return found


def lost(before: Rows, after: Rows) -> list[str]:
    """Return each value of `before` that `after` has not, as a sentence."""
    found = []
    for table, by_key in before.items():
        for key, values in by_key.items():
            now = after.get(table, {}).get(key)
            if now is None:
                found.append(f"{table}: the row {key} is gone")
                continue
            found += [
                f"{table}.{column} of row {key} was {value!r} and is {now.get(column)!r}"
                for column, value in values.items()
                if now.get(column) != value
            ]
    return found


def only_steady(apps: Any, found: Rows, labels: set[str]) -> Rows:
    """Return the rows of some models without the columns that every run fills differently."""
    kept: Rows = {}
    for model in shop_models(apps, implicit=True):
        if model._meta.label not in labels:
            continue
        steady = {
            f.attname
            for f in model._meta.local_concrete_fields
            if getattr(f, "default", None) not in (uuid.uuid4, timezone.now)
            and not getattr(f, "auto_now_add", False)
            and not isinstance(getattr(f, "db_default", None), Now)
        }
        kept[model._meta.label] = {
            key: {column: value for column, value in values.items() if column in steady or column == "id"}
            for key, values in found[model._meta.label].items()
        }
    return kept


@contextmanager
def told(apps: Any, alias: str = "default") -> Iterator[None]:
    """Let the models of new code use the names that the application would be told by the open aliases."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT table_name, column_name, place FROM segue_alias ORDER BY id")
        opened = [Alias(table=table, column=column, place=place) for table, column, place in cursor.fetchall()]
    with physical_names(apps, opened):
        yield


# Databases


class Example(Project):
    """A project whose databases are copies of two that have the base already, with rows."""

    @classmethod
    @contextmanager
    def copy(cls, templates: Project, folder: Path, number: int) -> Iterator[Example]:
        """Make the copies and a package for the migrations; drop the copies afterwards."""
        package = f"sequence_{folder.name}_{number}".replace("-", "_")
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
        originals = {alias: str(connections[alias].settings_dict["NAME"]) for alias in ("default", "stock")}
        copies = {alias: f"{name}_{number}" for alias, name in originals.items()}
        for alias, name in copies.items():
            connections[alias].close()
            _copy_database(templates.server, originals[alias], name)
            connections[alias].settings_dict["NAME"] = name
        store = {"STORE": f"file://{folder}/{package}_store"}
        with override_settings(MIGRATION_MODULES={"shop": package}, SEGUE={**settings.SEGUE, **store}):
            try:
                example = cls(templates.server, folder / package, package)
                example.migration(*BASE)
                yield example
            finally:
                for alias, name in copies.items():
                    connections[alias].close()
                    connections[alias].settings_dict["NAME"] = originals[alias]
                    templates.server.drop_database(name)

    def named_by_segue(self) -> set[str]:
        """Return whatever is in the database under a name of Segue's; its own tables and what belongs to them too."""
        found = self.sql(
            """
            SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'segue%%'
            UNION SELECT 'relation ' || relname FROM pg_class WHERE relname LIKE 'segue%%'
            UNION SELECT 'column ' || relname || '.' || attname FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
                WHERE attname LIKE '%%segue%%' AND NOT attisdropped AND relkind IN ('r', 'p', 'v')
            UNION SELECT 'constraint ' || conname FROM pg_constraint WHERE conname LIKE '%%segue%%'
            UNION SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgname LIKE '%%segue%%'
            UNION SELECT 'function ' || proname FROM pg_proc WHERE proname LIKE '%%segue%%'
            """,
            [],
        )
        return {name for (name,) in found}


def _copy_database(server: Server, template: str, name: str) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
