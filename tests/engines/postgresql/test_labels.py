"""The names that Segue gives: within 63 bytes, and told apart where what they are made of is."""

from __future__ import annotations

import pytest

from segue.engines.postgresql.acts.retire import label, not_null_check

LONG = "a_column_whose_name_is_nearly_as_long_as_postgresql_can_keep_"


@pytest.mark.parametrize("name", ["short", LONG, LONG + "it", "ключ" * 7, "日本" * 10])
def test_a_label_fits_and_keeps_what_stands_around_the_name(name: str) -> None:
    made = label("segue_", name, "_suffix")

    assert len(made.encode()) <= 63
    assert made.startswith("segue_")
    assert made.endswith("_suffix")


@pytest.mark.parametrize("make", [not_null_check, lambda name: label("segue_retired_20261122-193115-eab4_6_", name)])
def test_names_that_differ_in_their_last_byte_get_labels_that_differ(make: object) -> None:
    assert callable(make)
    assert make(f"{LONG}1") != make(f"{LONG}2")


def test_a_short_name_is_in_its_label_as_it_is() -> None:
    assert not_null_check("pages") == "pages_segue_not_null"
