"""Values travel as JSON and come back as they were."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from segue.core.change import Act
from segue.core.plan import Phase, Plan, Step
from segue.core.values import from_json, to_json
from tests.core.examples import plans, steps


@given(steps)
def test_every_step_comes_back_from_json_as_it_was(step: Step) -> None:
    text = json.dumps(to_json(step))

    assert from_json(Step, json.loads(text)) == step


@given(plans)
def test_every_plan_comes_back_from_json_as_it_was(plan: Plan) -> None:
    text = json.dumps(to_json(plan))

    assert from_json(Plan, json.loads(text)) == plan


@given(plans)
def test_a_plan_has_the_same_hash_after_its_way_through_json(plan: Plan) -> None:
    copy = from_json(Plan, json.loads(json.dumps(to_json(plan))))

    assert copy.hash == plan.hash


def test_a_value_of_an_older_version_is_read_with_the_defaults_of_what_it_lacks() -> None:
    data = {"id": "1", "title": "t", "phase": "expand", "forward": {"statements": ["SELECT 1"]}, "undo": []}

    step = from_json(Step, data)

    assert step == Step(id="1", title="t", phase=Phase.EXPAND, forward=Act(statements=("SELECT 1",)), undo=())


def test_a_key_that_this_version_does_not_know_is_ignored() -> None:
    data = {**to_json(Act(statements=("SELECT 1",))), "invented": "later"}

    assert from_json(Act, data) == Act(statements=("SELECT 1",))


def test_what_fits_no_choice_of_a_union_is_an_error() -> None:
    with pytest.raises(ValueError) as caught:
        from_json(Step, {"id": "1", "title": "t", "phase": "expand", "forward": {}, "undo": "neither"})

    assert str(caught.value).startswith("'neither' is none of (")
