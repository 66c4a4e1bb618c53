"""How long others wait, as values and as text: durations, what to allow, and a step that was cancelled."""

from __future__ import annotations

import pytest

from segue import render
from segue.core.change import Act, Cemetery, Kind, Retired, Work
from segue.core.evidence import Prediction
from segue.core.plan import Phase, Step
from segue.core.values import from_json, to_json

CHECK = Retired(kind=Kind.CONSTRAINT, table="book", name="positive", definition="CHECK (pages > 0)")
WAITING = Step(
    id="check",
    title="enforce positive",
    phase=Phase.CONTRACT,
    forward=Act(),
    undo=(),
    unless_retired=((Kind.CONSTRAINT.value, "book", "positive", "CHECK (pages > 0)"),),
)


@pytest.mark.parametrize(
    ("seconds", "said", "allowed"),
    [
        (0.0001, "1 ms", "100ms"),
        (0.05, "50 ms", "100ms"),
        (0.3, "300 ms", "400ms"),
        (0.9, "900 ms", "2s"),
        (2.34, "2.3 s", "3s"),
        (59, "59.0 s", "71s"),
        (150, "2.5 min", "3min"),
    ],
)
def test_a_prediction_is_said_and_allowed_with_a_margin(seconds: float, said: str, allowed: str) -> None:
    assert (render.duration(seconds), render.allowance(seconds)) == (said, allowed)


def test_a_step_with_a_prediction_survives_its_way_through_json() -> None:
    step = Step(
        id="build",
        title="build",
        phase=Phase.EXPAND,
        forward=Act(statements=("SELECT 1",), work=Work.BUILD, builds="EXCLUDE …", otherwise=("SELECT 2",)),
        undo=(),
        online=False,
        blocks=Prediction(table="book", rows=12, seconds=0.5),
    )

    assert from_json(Step, to_json(step)) == step
    assert step.blocks_seconds == 0.5


def test_a_step_of_a_journal_that_knew_no_predictions_can_be_read() -> None:
    old = {k: v for k, v in to_json(WAITING).items() if k != "blocks"}
    old["forward"] = {k: v for k, v in old["forward"].items() if k not in ("work", "builds", "otherwise")}

    assert from_json(Step, old) == WAITING


def test_a_constraint_that_was_cancelled_is_not_due() -> None:
    cemetery = Cemetery((Act(retires=(CHECK,)),))

    assert not WAITING.is_due(cemetery)


def test_the_same_name_with_another_text_is_due() -> None:
    other = Retired(kind=Kind.CONSTRAINT, table="book", name="positive", definition="CHECK (pages > 9)")

    assert WAITING.is_due(Cemetery((Act(retires=(other,)),)))
