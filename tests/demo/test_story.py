"""The whole story, small: on Segue every promise holds, on stock Django the same story shows what breaks."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from segue import demo

PROJECT = Path(__file__).parents[2] / "backend"


@pytest.mark.slow
def test_nothing_fails_and_nothing_is_lost_with_segue_although_both_happen_without_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    size = ["--users", "500", "--seconds-per-phase", "1.5"]

    status = demo.run(parser.parse_args([*size, "--compare", "--format", "json", "--project", str(PROJECT)]))

    report = json.loads(capsys.readouterr().out)
    assert (status, report["broken_promises"]) == (0, [])
    assert report["failed_requests"] == {"old": 0, "new": 0}
    assert report["values_compared"] > 1000
    assert (report["values_lost"], report["schema_equal"]) == (0, True)
    assert report["stock"]["failed_requests"]["old"] > 0
    assert report["stock"]["values_lost"] > 0
