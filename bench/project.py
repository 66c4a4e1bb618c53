"""VILLEN Music as the benchmarks use it: its contenders, its two versions, and the environment of a process."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import segue

ROOT = Path(__file__).resolve().parents[1]
BACKEND = ROOT / "backend"
APP = "music"
USER_TABLE = "music_user"
SONG_TABLE = "music_song"
Version: TypeAlias = Literal["old", "new"]
VERSIONS: tuple[Version, ...] = ("old", "new")
Kind: TypeAlias = Literal["write", "read"]
KINDS: tuple[Kind, ...] = ("write", "read")
# The release that is measured, from VILLEN 1.0's last migration to 1.1's, and what each version has on disk.
MIGRATIONS: dict[Version, tuple[str, ...]] = {
    "old": ("0001_initial",),
    "new": ("0001_initial", "0002_user_preferences"),
}
RELEASES: dict[Version, str] = {"old": "1.0", "new": "1.1"}
PACKAGES: dict[Version, str] = {"old": "villen_1_0", "new": "villen_1_1"}
# Names that would bring another database or another default into the project's settings, or have Python compile what
# is not installed anew with each start: only some contenders are.
FOREIGN_VARIABLES = (
    *("BENCH_MIGRATIONS", "STAGING_DATABASE_URL", "SEGUE_STORE", "PGOPTIONS", "PGAPPNAME"),
    "PYTHONDONTWRITEBYTECODE",
)


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to run `manage.py migrate`; `finalize` ends its release, where it has releases."""

    name: str
    settings: str
    finalize: tuple[str, ...] = ()


STOCK = Contender(name="stock", settings="bench.settings_stock")
SEGUE = Contender(
    name="segue",
    settings="bench.settings_segue",
    finalize=("segue", "finalize", "--no-input"),
)
CONTENDERS = (
    STOCK,
    Contender(name="zdm", settings="bench.settings_zdm"),
    Contender(name="zdm-lax", settings="bench.settings_zdm_lax"),
    SEGUE,
)


def write_versions(folder: Path) -> None:
    """Write each version's own migrations into `folder`; the rest of its code is in the models' history."""
    for version, package in PACKAGES.items():
        target = folder / package
        target.mkdir()
        for name in ("__init__", *MIGRATIONS[version]):
            shutil.copy(BACKEND / APP / "migrations" / f"{name}.py", target)


@dataclass(frozen=True, kw_only=True)
class Site:
    """The project on one database under one contender's settings; `folder` holds the versions' migrations."""

    contender: Contender
    url: str
    folder: Path
    secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(50), repr=False)

    def environment(self, version: Version | None) -> dict[str, str]:
        """The environment of a process that runs a version's code, or today's code for None."""
        inherited = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
        sources = Path(segue.__file__).resolve().parents[1]
        given = [Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
        return {
            **inherited,
            **({"BENCH_MIGRATIONS": PACKAGES[version]} if version else {}),
            "ALLOWED_HOSTS": "localhost",
            "DATABASE_URL": f"{self.url}?application_name={application_name(version)}",
            "DJANGO_SETTINGS_MODULE": self.contender.settings,
            "PYTHONPATH": os.pathsep.join(map(str, [ROOT, sources, self.folder, *given])),
            "SECRET_KEY": self.secret_key,
            "SEGUE_STORE": (self.folder / "store").as_uri(),
        }


def application_name(version: Version | None) -> str:
    """What the server sees as the name of a version's connections."""
    return f"villen-{RELEASES[version]}" if version else "villen"


def manage(*arguments: str) -> list[str]:
    """The command line of `manage.py`."""
    return [sys.executable, "manage.py", *arguments]
