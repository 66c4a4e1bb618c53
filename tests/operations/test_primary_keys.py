"""A primary key that comes or goes with its column: old code keeps its own until finalize wherever it can."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import IntegrityError, migrations, models, transaction

from tests.operations.bookshop import assert_ends_as_stock, plan
from tests.project import Project

LAND = migrations.CreateModel(
    "Land", [("code", models.CharField(max_length=2, primary_key=True)), ("name", models.CharField(max_length=20))]
)
SHIP = migrations.CreateModel(
    "Ship", [("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=20))]
)
CODE_AWAY = migrations.RemoveField("land", "code")
NUMBER = migrations.AddField("land", "id", models.BigAutoField(primary_key=True, serialize=False))
ID_AWAY = migrations.RemoveField("ship", "id")
UUID = migrations.AddField("ship", "uuid", models.UUIDField(primary_key=True, default=uuid.uuid4, serialize=False))


def _key(project: Project, table: str) -> list[Any]:
    return project.sql(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'", [table]
    )


def _lands(project: Project) -> tuple[Any, Any]:
    """A table of two rows whose natural key gives way to a number."""
    project.live(project.migration(LAND, SHIP))
    project.sql("INSERT INTO shop_land VALUES ('in', 'India'), ('np', 'Nepal')")
    old = project.model("Land")
    project.migration(CODE_AWAY, NUMBER)
    return old, project.model("Land")


def _ships(project: Project) -> tuple[Any, Any]:
    """A table of two rows whose number gives way to a UUID."""
    project.live(project.migration(LAND, SHIP))
    project.sql("INSERT INTO shop_ship (name) VALUES ('Vikrant'), ('Viraat')")
    old = project.model("Ship")
    project.migration(ID_AWAY, UUID)
    return old, project.model("Ship")


def test_a_number_takes_the_place_of_a_natural_key_under_both_versions(project: Project) -> None:
    old_land, new_land = _lands(project)

    planned = plan(project)
    project.apply()
    old_land.objects.create(code="lk", name="Lanka")
    old_land.objects.filter(code="in").update(name="Bharat")
    new_land.objects.create(name="Bhutan")

    assert all(step.online for step in planned.steps)
    assert _key(project, "shop_land") == [("PRIMARY KEY (id)",)]
    assert [*new_land.objects.order_by("id").values_list("id", "name")] == [
        (1, "Bharat"),
        (2, "Nepal"),
        (3, "Lanka"),
        (4, "Bhutan"),
    ]
    with pytest.raises(IntegrityError, match="duplicate key"), transaction.atomic():
        old_land.objects.create(code="lk", name="Lanka again")
    assert_ends_as_stock(project)
    assert new_land.objects.create(name="later").id == 6


def test_a_natural_key_is_itself_again_after_a_rollback_unless_a_row_lacks_it(project: Project) -> None:
    old_land, new_land = _lands(project)
    project.apply()

    project.rollback()
    one = _key(project, "shop_land")
    project.apply()
    new_land.objects.create(name="Bhutan")
    project.rollback()

    assert one == [("PRIMARY KEY (code)",)]
    assert _key(project, "shop_land") == []
    assert [*old_land.objects.order_by("name").values_list("code", "name")] == [
        (None, "Bhutan"),
        ("in", "India"),
        ("np", "Nepal"),
    ]


def test_numbers_are_the_same_when_the_release_is_applied_again(project: Project) -> None:
    old_land, new_land = _lands(project)
    project.apply()
    project.sql("UPDATE shop_land SET id = id + 10")

    project.rollback()
    old_land.objects.create(code="lk", name="Lanka")
    project.apply()

    assert [*new_land.objects.order_by("id").values_list("id", "name")] == [(3, "Lanka"), (11, "India"), (12, "Nepal")]
    assert_ends_as_stock(project)


def test_a_uuid_takes_the_place_of_a_number_at_finalize_under_both_versions(project: Project) -> None:
    old_ship, new_ship = _ships(project)

    planned = plan(project)
    project.apply()
    number = old_ship.objects.create(name="by old").id
    key = new_ship.objects.create(name="by new").uuid
    old_ship.objects.filter(id=number).update(name="by old again")
    new_ship.objects.filter(uuid=key).update(name="by new again")

    assert all(step.online for step in planned.steps)
    assert _key(project, "shop_ship") == [("PRIMARY KEY (id)",)]
    assert len({ship.uuid for ship in new_ship.objects.all()}) == 4
    assert sorted(old_ship.objects.values_list("id", "name")) == [
        (1, "Vikrant"),
        (2, "Viraat"),
        (3, "by old again"),
        (4, "by new again"),
    ]
    project.stock()
    project.finalize()
    assert project.differences() == []
    assert _key(project, "shop_ship") == [("PRIMARY KEY (uuid)",)]


@pytest.mark.parametrize("finalizing", [False, True], ids=["open", "finalized"])
def test_both_keys_keep_their_values_forth_and_back_and_forth(project: Project, finalizing: bool) -> None:
    old_ship, new_ship = _ships(project)
    project.apply()
    written = new_ship.objects.create(name="by new").uuid
    if finalizing:
        project.finalize()

    project.rollback()
    numbers = sorted(old_ship.objects.values_list("id", "name"))
    old_ship.objects.create(name="by old")
    project.finalize()
    back = _key(project, "shop_ship")
    project.apply()

    assert numbers == [(1, "Vikrant"), (2, "Viraat"), (3, "by new")]
    assert back == [("PRIMARY KEY (id)",)]
    assert new_ship.objects.get(name="by new").uuid == written
    assert new_ship.objects.filter(name="by old").exclude(uuid=None).count() == 1
    project.finalize()
    assert _key(project, "shop_ship") == [("PRIMARY KEY (uuid)",)]
