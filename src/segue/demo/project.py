"""Where the reference project lies, and under which settings each side of the story runs which release."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from segue.core.errors import SegueError, UsageError

FOLDER = "backend"
PRODUCTION = "core.settings.production"
STOCK = "segue.demo.stock_settings"
OLD = "segue.demo.old_settings"
APP = "music"
OLD_MIGRATION = "0001_initial"
OLD_MIGRATIONS = "music_1_0_0"
Version: TypeAlias = Literal["old", "new"]
VERSIONS: tuple[Version, ...] = ("old", "new")
RELEASES: dict[Version, str] = {"old": "1.0.0", "new": "1.3"}
APPLICATION_NAMES: dict[Version, str] = {"old": "villen-1.0.0", "new": "villen-1.3.0"}
# Where this very package was imported from: the children must not find another one, or none.
SOURCES = Path(__file__).parents[2]
# Names that would bring another database or a half-configured server into the project's settings.
FOREIGN_VARIABLES = ("STAGING_DATABASE_URL", "SEGUE_STORE", "PGOPTIONS", "PGAPPNAME")


class StoryError(SegueError):
    """The story cannot go on: a command failed, or a process that it needs ended by itself."""


def find_project(given: Path | None) -> Path:
    """The reference project: the folder that was named, or `backend` here or in a folder above.

    Raises UsageError where there is none.
    """
    here = Path.cwd()
    candidates = [given] if given else [folder / FOLDER for folder in (here, *here.parents)]
    for candidate in candidates:
        if (candidate / "manage.py").is_file() and (candidate / APP).is_dir():
            return candidate.resolve()
    where = str(given) if given else f"{here} or the folders above it"
    raise UsageError(
        f"The demo needs VILLEN Music, the reference project, and there is none in {where}.",
        next_command="segue demo --project FOLDER, where FOLDER is backend/ of a clone of Segue",
    )


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of the comparison: the project with Segue, or the same project on stock Django."""

    name: str
    settings: str
    url: str
    project: Path
    folder: Path
    secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(50), repr=False)

    @property
    def has_segue(self) -> bool:
        """Is Segue installed on this side?"""
        return self.settings == PRODUCTION

    def environment(self, version: Version) -> dict[str, str]:
        """The environment of a process that runs a version's code on this side."""
        inherited = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
        # The children run in another folder than this process, so no entry may stay relative to it.
        python_path = [str(path.resolve()) for path in (*_python_path(), SOURCES, self._old_code)]
        return inherited | {
            "ALLOWED_HOSTS": "localhost",
            "DATABASE_URL": f"{self.url}?application_name={APPLICATION_NAMES[version]}",
            "DJANGO_SETTINGS_MODULE": OLD if version == "old" else self.settings,
            "PYTHONPATH": os.pathsep.join(python_path),
            "SECRET_KEY": self.secret_key,
            "SEGUE_DEMO_NEWER": self.settings,
            "SEGUE_DEMO_SETTINGS": PRODUCTION,
            "SEGUE_STORE": (self.folder / "store").as_uri(),
        }

    def write_old_code(self) -> None:
        """Write what 1.0.0 had in its migrations' folder; the rest of its code is in the models' history."""
        package = self._old_code / OLD_MIGRATIONS
        package.mkdir(parents=True)
        for name in ("__init__.py", f"{OLD_MIGRATION}.py"):
            shutil.copy(self.project / APP / "migrations" / name, package)

    @property
    def _old_code(self) -> Path:
        return self.folder / "old"

    def manage(self, *arguments: str) -> list[str]:
        """The command line of `manage.py`."""
        return [sys.executable, "manage.py", *arguments]

    def segue(self, *arguments: str) -> list[str]:
        """The command line of `segue`, answering in JSON."""
        options = ("--settings", self.settings, "--no-input", "--format", "json")
        return [sys.executable, "-m", "segue", *arguments, *options]


def _python_path() -> list[Path]:
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [Path(entry) for entry in entries if entry]
