"""A field that becomes the primary key, or begins or ceases to number its rows: both versions work."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, migrations, models, transaction
from django.db.migrations.operations.base import Operation

from segue.core.errors import StepFailed
from segue.core.run import State
from tests.operations.bookshop import assert_ends_as_stock, plan
from tests.project import Project

_KEY = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = 'shop_land'::regclass AND contype = 'p'
"""


def _lands(project: Project, number: models.Field, code: models.Field) -> Any:
    """Two lands, each with a number and a code; returns old code's model."""
    fields = [("number", number), ("code", code), ("name", models.CharField(max_length=20))]
    project.live(project.migration(migrations.CreateModel("Land", fields)))
    land = project.model("Land")
    for given, code_of, name in ((7, "in", "India"), (9, "np", "Nepal")):
        land.objects.create(number=given, code=code_of, name=name)
        land.objects.using("stock").create(number=given, code=code_of, name=name)
    return land


def _plain_code() -> models.Field:
    return models.CharField(max_length=2)


@pytest.mark.parametrize("field", [models.AutoField, models.BigAutoField], ids=["as wide", "wider"])
def test_a_key_that_code_has_given_begins_to_number_itself(project: Project, field: Any) -> None:
    old = _lands(project, models.IntegerField(primary_key=True), _plain_code())
    project.migration(migrations.AlterField("Land", "number", field(primary_key=True, serialize=False)))
    new = project.model("Land")

    planned = plan(project)
    project.apply()
    by_new_code = new.objects.create(code="bt", name="Bhutan")
    old.objects.create(number=20, code="lk", name="Lanka")
    run = project.rollback()
    old.objects.create(number=21, code="mv", name="Maldives")
    project.apply()
    project.finalize()

    assert all(step.online for step in planned.steps)
    assert by_new_code.pk == 10
    assert run.state is State.ROLLED_BACK
    assert new.objects.create(code="mm", name="Myanmar").pk == 22
    project.stock()
    assert project.differences() == []


@pytest.mark.parametrize("field", [models.IntegerField, models.BigIntegerField], ids=["as wide", "wider"])
def test_a_key_that_numbers_itself_ceases_to_when_old_code_has_gone(project: Project, field: Any) -> None:
    old = _lands(project, models.AutoField(primary_key=True), _plain_code())
    project.sql("ALTER SEQUENCE shop_land_number_seq RESTART WITH 10")
    project.migration(migrations.AlterField("Land", "number", field(primary_key=True, serialize=False)))
    new = project.model("Land")

    planned = plan(project)
    project.apply()
    new.objects.create(number=50, code="bt", name="Bhutan")
    by_old_code = old.objects.create(code="lk", name="Lanka")
    project.finalize()
    back = project.apply("0001_step")
    again = old.objects.create(code="mv", name="Maldives")
    project.finalize()
    project.apply()

    assert all(step.online for step in planned.steps)
    assert by_old_code.pk == 10
    assert back is not None
    assert again.pk == 51
    assert_ends_as_stock(project)


NUMBER_AS_KEY = (
    migrations.AlterField("Land", "code", models.CharField(max_length=2, unique=True)),
    migrations.AlterField("Land", "number", models.IntegerField(primary_key=True, serialize=False)),
)


def test_another_field_becomes_the_primary_key_when_old_code_has_gone(project: Project) -> None:
    old = _lands(project, models.IntegerField(), models.CharField(max_length=2, primary_key=True))
    project.migration(*NUMBER_AS_KEY)
    new = project.model("Land")
    before = project.sql(_KEY)

    planned = plan(project)
    project.apply()
    open_key = project.sql(_KEY)
    old.objects.create(number=1, code="lk", name="Lanka")
    old.objects.filter(code="lk").update(name="Ceylon")
    new.objects.create(number=2, code="bt", name="Bhutan")
    new.objects.filter(number=2).update(name="Druk Yul")
    project.rollback()
    rolled_back = project.sql(_KEY)
    project.apply()
    project.stock()
    project.finalize()

    assert all(step.online for step in planned.steps)
    assert before == open_key == rolled_back == [("shop_land_pkey", "PRIMARY KEY (code)")]
    assert project.differences() == []
    assert [*new.objects.order_by("number").values_list("number", "code", "name")] == [
        (1, "lk", "Ceylon"),
        (2, "bt", "Druk Yul"),
        (7, "in", "India"),
        (9, "np", "Nepal"),
    ]


def test_a_key_that_new_code_may_leave_empty_gives_way_at_once(project: Project) -> None:
    old = _lands(project, models.IntegerField(), models.CharField(max_length=2, primary_key=True))
    project.migration(
        migrations.AlterField("Land", "code", models.CharField(max_length=2)),
        migrations.AlterField("Land", "number", models.IntegerField(primary_key=True, serialize=False)),
        migrations.AlterField("Land", "code", models.CharField(max_length=2, null=True)),
    )
    new = project.model("Land")

    planned = plan(project)
    project.apply()
    old.objects.create(number=1, code="lk", name="Lanka")
    new.objects.create(number=2, code=None, name="Bhutan")

    assert all(step.online for step in planned.steps)
    with pytest.raises(IntegrityError, match="duplicate key"), transaction.atomic():
        old.objects.create(number=3, code="lk", name="Lanka again")
    assert_ends_as_stock(project)


def test_a_second_primary_key_is_refused_by_name(project: Project) -> None:
    _lands(project, models.IntegerField(), models.CharField(max_length=2, primary_key=True))
    project.migration(NUMBER_AS_KEY[1])

    with pytest.raises(StepFailed) as caught:
        project.apply()

    assert str(caught.value) == (
        "shop_land has a primary key already: code.\n"
        "Next: remove that field, or alter it to be no primary key, in an operation before this one"
    )


def test_it_goes_back_after_finalize_too(project: Project) -> None:
    old = _lands(project, models.IntegerField(), models.CharField(max_length=2, primary_key=True))
    project.migration(*NUMBER_AS_KEY)
    project.apply()
    project.finalize()

    project.apply("0001_step")
    old.objects.create(number=1, code="lk", name="Lanka")
    project.finalize()

    assert project.sql(_KEY)[0][1] == "PRIMARY KEY (code)"
    assert old.objects.count() == 3


@pytest.mark.parametrize(
    "operation",
    [
        migrations.AlterField("Land", "code", models.AutoField(primary_key=True)),
    ],
    ids=["a text that becomes a number"],
)
def test_what_has_no_online_form_runs_as_stock_and_the_plan_says_so(project: Project, operation: Operation) -> None:
    _lands(project, models.IntegerField(), models.CharField(max_length=2, primary_key=True))
    project.sql("DELETE FROM shop_land")
    project.sql("DELETE FROM shop_land", alias="stock")
    project.migration(operation)

    planned = plan(project)
    project.apply()

    assert [step.online for step in planned.steps] == [False]
    assert_ends_as_stock(project)
