"""A type and NULL that change in one alteration: each way back has the type, and the NULLs, that were there."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import migrations, models

from tests.operations.bookshop import assert_ends_as_stock, open_shop
from tests.project import Project

TYPES = [
    (models.IntegerField, models.BigIntegerField),
    (models.BigIntegerField, models.IntegerField),
    (models.IntegerField, models.TextField),
]


@pytest.mark.parametrize("forbidding", [True, False], ids=["NULL forbidden", "NULL allowed"])
@pytest.mark.parametrize(("old", "new"), TYPES, ids=["wider", "narrower", "other"])
def test_a_type_and_null_change_forth_and_back_and_forth(
    project: Project, old: Any, new: Any, forbidding: bool
) -> None:
    loose, tight = {"null": True}, {"default": 7}
    before, after = (loose, tight) if forbidding else (tight, loose)
    open_shop(project)
    first = project.migration(migrations.AddField("book", "size", old(**before)))
    project.live(first)
    project.finalize()
    old_book = project.model("Book")
    old_book.objects.filter(title="Godaan").update(size=None if forbidding else 7)
    old_book.objects.create(title="five", author_id=1, pages=1, size=5)
    begin = dict(old_book.objects.values_list("title", "size"))
    project.migration(migrations.AlterField("book", "size", new(**after)))

    project.apply()
    old_book.objects.create(title="by old", author_id=1, pages=1)
    project.rollback()
    back = dict(old_book.objects.values_list("title", "size"))
    project.apply()
    assert_ends_as_stock(project)
    project.rollback()
    project.finalize()
    project.stock(first)

    assert {title: back[title] for title in begin} == begin
    again = dict(old_book.objects.values_list("title", "size"))
    assert {title: again[title] for title in begin} == begin
    assert project.differences() == []
    project.apply()
    assert_ends_as_stock(project)
