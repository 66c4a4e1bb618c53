"""What the walks excuse is no more than they say."""

from __future__ import annotations

import pytest

from tests.histories.rows import Lost, lost
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
