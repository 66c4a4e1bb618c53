"""The cemetery knows every retired object, its generations, and what was brought back."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from segue.core.change import Act, Cemetery, Kind, Retired
from tests.core.examples import acts

TITLE = Retired(kind=Kind.COLUMN, table="book", name="title", definition="text")
YEAR = Retired(kind=Kind.COLUMN, table="book", name="title", definition="integer")
BURIED = replace(TITLE, place="segue_retired_1_title")


def test_what_was_retired_is_found_by_its_name() -> None:
    cemetery = Cemetery((Act(retires=(TITLE,)),))

    assert cemetery.find(Kind.COLUMN, "book", "title") == (TITLE,)
    assert cemetery.find(Kind.COLUMN, "author", "title") == ()
    assert cemetery.find(Kind.INDEX, "book", "title") == ()


def test_of_several_generations_the_newest_comes_first() -> None:
    cemetery = Cemetery((Act(retires=(TITLE,)), Act(revives=(TITLE,), retires=(BURIED,)), Act(retires=(YEAR,))))

    assert cemetery.find(Kind.COLUMN, "book", "title") == (YEAR, BURIED)
    assert cemetery.all() == (BURIED, YEAR)


def test_what_was_revived_or_purged_lies_there_no_longer() -> None:
    cemetery = Cemetery((Act(retires=(TITLE, YEAR)), Act(revives=(TITLE,)), Act(purges=(YEAR,))))

    assert cemetery.all() == ()


def test_reviving_what_does_not_lie_there_changes_nothing() -> None:
    cemetery = Cemetery((Act(retires=(TITLE,)),))

    cemetery.follow(Act(revives=(YEAR,)))

    assert cemetery.all() == (TITLE,)


@given(st.lists(acts, max_size=6))
def test_following_acts_one_by_one_is_following_them_at_once(acts: list[Act]) -> None:
    followed = Cemetery()
    for act in acts:
        followed.follow(act)

    assert followed.all() == Cemetery(tuple(acts)).all()
