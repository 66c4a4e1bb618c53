"""What exists is documented, and what is documented exists."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from pathlib import Path

from segue import cli, conf
from segue.core import errors

ROOT = Path(__file__).parents[2]
COMMANDS = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs/settings.md").read_text(encoding="utf-8")


def _verbs() -> dict[str, argparse.ArgumentParser]:
    actions = cli.build_parser("segue")._subparsers._group_actions  # type: ignore[union-attr]
    return dict(actions[0].choices.items())  # type: ignore[union-attr]


def test_every_command_is_documented_and_no_other() -> None:
    documented = re.findall(r"^## segue (\w+)", COMMANDS, flags=re.MULTILINE)

    assert sorted(documented) == sorted(_verbs())


def test_every_option_is_documented() -> None:
    options = {o for verb in _verbs().values() for a in verb._actions for o in a.option_strings if o.startswith("--")}

    missing = sorted(o for o in options - {"--help", "--noinput"} if f"`{o}" not in COMMANDS)

    assert missing == []


def test_every_setting_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", SETTINGS, flags=re.MULTILINE)

    assert documented == [field.name for field in fields(conf.Settings)]


def test_every_exit_status_is_documented() -> None:
    classes = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.SegueError)]
    documented = {int(status) for status in re.findall(r"^\| (\d+) \|", COMMANDS, flags=re.MULTILINE)}

    assert {e.exit_status for e in classes} <= documented
