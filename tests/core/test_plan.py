"""A plan's hash says whether it is the same work; a waiting step knows whether it is still meant."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from segue.core.change import Act, Cemetery, Irreversible, Kind, LockMode, Retired, TableLock
from segue.core.plan import Direction, Phase, Plan, PlannedMigration, Step, Target
from tests.core.examples import plans

STEP = Step(
    id="shop.0002:forth:0:column",
    title="add column",
    phase=Phase.EXPAND,
    forward=Act(
        statements=("ALTER TABLE book ADD COLUMN at timestamptz DEFAULT '2026-01-01'",),
        locks=(TableLock(table="book", mode=LockMode.ACCESS_EXCLUSIVE),),
    ),
    undo=Irreversible(reason="a test"),
)
TITLE = Retired(kind=Kind.COLUMN, table="book", name="title", definition="text")


def _plan(step: Step, direction: Direction = Direction.FORWARD) -> Plan:
    target = Target(alias="default", name="shop", vendor="PostgreSQL", version="18.0")
    return Plan(
        target=target, direction=direction, migrations=(PlannedMigration(app="shop", name="0002", steps=(step,)),)
    )


@given(plans, st.text())
def test_the_hash_does_not_depend_on_the_text_of_the_sql(plan: Plan, text: str) -> None:
    def rewritten(step: Step) -> Step:
        return replace(step, forward=replace(step.forward, statements=(text,)))

    other = replace(
        plan,
        migrations=tuple(replace(m, steps=tuple(rewritten(s) for s in m.steps)) for m in plan.migrations),
    )

    assert other.hash == plan.hash


def test_the_hash_does_not_depend_on_the_target() -> None:
    plan = _plan(STEP)

    other = replace(plan, target=replace(plan.target, name="staging"))

    assert other.hash == plan.hash


def test_the_hash_changes_with_the_direction_the_steps_and_their_locks() -> None:
    weaker = (TableLock(table="book", mode=LockMode.SHARE_UPDATE_EXCLUSIVE),)

    hashes = {
        _plan(STEP).hash,
        _plan(STEP, Direction.BACKWARD).hash,
        _plan(replace(STEP, title="add another column")).hash,
        _plan(replace(STEP, phase=Phase.CONTRACT)).hash,
        _plan(replace(STEP, forward=replace(STEP.forward, locks=weaker))).hash,
    }

    assert len(hashes) == 5


def test_the_hash_is_twelve_hexadecimal_characters() -> None:
    text = _plan(STEP).hash

    assert len(text) == 12
    assert int(text, 16) >= 0


def test_a_step_is_due_while_what_it_waits_for_is_still_retired() -> None:
    step = replace(STEP, while_retired=(TITLE,))

    still_retired = step.is_due(Cemetery((Act(retires=(TITLE,)),)))
    revived = step.is_due(Cemetery((Act(retires=(TITLE,)), Act(revives=(TITLE,)))))

    assert still_retired
    assert not revived
