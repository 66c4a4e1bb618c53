"""What the walks excuse is no more than they say."""

from __future__ import annotations

import uuid

import pytest
from django.db import models
from django.utils import timezone

from tests.histories.rows import Lost, is_random, lost
from tests.histories.walk import is_wider, without


@pytest.mark.parametrize(
    ("line", "wider"),
    [
        ("column a.b differs: text NOT NULL | character varying(255) NOT NULL", True),
        ("column a.b differs: character varying(255) | character varying(100)", True),
        ("column a.b differs: character varying(100) | character varying(255)", False),
        ("column a.b differs: text | character varying(255) NOT NULL", False),
        ("column a.b differs: bigint | integer", False),
        ("column a.b differs: text collate C | character varying(255)", False),
    ],
)
def test_only_a_wider_type_of_characters_stays_after_a_rollback(line: str, wider: bool) -> None:
    assert bool(is_wider(line)) is wider


def test_a_value_that_own_code_wrote_is_excused_only_where_stock_ends_with_the_same() -> None:
    ours = [Lost(table="a", column="b", key=1, was="x", now="y"), Lost(table="a", column="b", key=2, was="x", now="z")]
    stocks = [
        Lost(table="a", column="b", key=1, was="x", now="y"),
        Lost(table="a", column="b", key=2, was="x", now="y"),
    ]

    assert without(ours, stocks, set()) == [ours[1]]
    assert without(ours, stocks, {"a.b"}) == []
    assert without(ours, [], {"a.b"}) == ours


def test_a_row_that_is_gone_is_one_loss_and_a_value_another() -> None:
    before = {"a": {1: {"id": 1, "b": "x"}, 2: {"id": 2, "b": "y"}}}
    after = {"a": {1: {"id": 1, "b": "z"}}}

    assert list(map(str, lost(before, after))) == ["a.b of row 1 was 'x' and is 'z'", "a: the row 2 is gone"]


@pytest.mark.parametrize(
    ("field", "random"),
    [
        (models.UUIDField(default=uuid.uuid4), True),
        (models.DateTimeField(default=timezone.now), True),
        (models.DateTimeField(auto_now=True), True),
        (models.JSONField(default=dict), False),
        (models.CharField(default="a"), False),
        (models.CharField(), False),
    ],
)
def test_only_what_a_default_or_the_clock_makes_anew_each_time_counts_as_random(
    field: models.Field, random: bool
) -> None:
    assert is_random(field) is random
