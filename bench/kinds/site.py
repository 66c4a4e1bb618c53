"""The shop under one contender: the files of both versions, the environment of a process, and who works there."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import segue
from bench.project import FOREIGN_VARIABLES, ROOT, Kind, Version
from bench.traffic import Member

CONTENDERS = ("stock", "zdm", "segue", "expert", "bare")
# How the contenders that are Django are told apart by the settings; the others run on stock Django's.
DJANGO = {"stock": "stock", "zdm": "zdm", "segue": "segue", "expert": "stock", "bare": "stock"}
MIGRATIONS = {"old": "0001_initial", "new": "0002_change"}
# Whoever is to be relieved leaves when the new version has taken over, so that the rate stays what it was.
CREW: tuple[tuple[Version, Kind, bool], ...] = (
    ("old", "write", False),
    ("old", "write", True),
    ("new", "write", False),
    ("old", "read", False),
    ("old", "read", True),
    ("new", "read", False),
)
WRITERS = 3
CONNECTIONS: dict[Kind, int] = {"write": 8, "read": 2}
SHARE_OF_WRITES = 0.8
_MIGRATION = """from django.db import migrations

from bench.kinds import operations


class Migration(migrations.Migration):
    dependencies = {dependencies}
    operations = operations.{operations}
"""


def albums_of(songs: int) -> int:
    """How many albums there are for so many songs."""
    return max(songs // 10, WRITERS * CONNECTIONS["write"])


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The shop on one database under one contender; `folder` holds the versions' migrations."""

    contender: str
    change: str
    url: str
    folder: Path

    def write_versions(self) -> None:
        """Write each version's migrations into the folder."""
        first = _MIGRATION.format(dependencies=[], operations="initial()")
        before = [("shop", MIGRATIONS["old"])]
        second = _MIGRATION.format(dependencies=before, operations=f"SECOND[{self.change!r}]()")
        files = {"old": {"old": first}, "new": {"old": first, "new": second}}
        for version, texts in files.items():
            package = self.folder / f"shop_{version}"
            package.mkdir(exist_ok=True)
            (package / "__init__.py").touch()
            for which, text in texts.items():
                (package / f"{MIGRATIONS[which]}.py").write_text(text)

    def environment(self, version: Version) -> dict[str, str]:
        """The environment of a process that runs a version's code."""
        inherited = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
        sources = Path(segue.__file__).resolve().parents[1]
        given = [Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
        return {
            **inherited,
            "BENCH_APPLICATION": application_name(version),
            "BENCH_CONTENDER": DJANGO[self.contender],
            "BENCH_MIGRATIONS": f"shop_{version}",
            "BENCH_STORE": (self.folder / "store").as_uri(),
            "BENCH_URL": self.url,
            "DJANGO_SETTINGS_MODULE": "bench.kinds.settings",
            "PYTHONPATH": os.pathsep.join(map(str, [ROOT, sources, self.folder, *given])),
        }

    def crew(self, *, rate: float, songs: int) -> list[Member]:
        """The clients: whoever is there at a time makes `rate` requests per second, four fifths of them writes."""
        return [
            Member(
                version=version,
                kind=kind,
                is_relieved=is_relieved,
                argv=[
                    *(sys.executable, "-m", "bench.kinds.client"),
                    *("--change", self.change, "--version", version, "--kind", kind),
                    *("--connections", str(CONNECTIONS[kind])),
                    *("--number", str(number % WRITERS), "--parts", str(WRITERS)),
                    *("--rate", str(rate / 2 * (SHARE_OF_WRITES if kind == "write" else 1 - SHARE_OF_WRITES))),
                    *("--songs", str(songs), "--albums", str(albums_of(songs))),
                ],
                env=self.environment(version),
                cwd=self.folder,
            )
            for number, (version, kind, is_relieved) in enumerate(CREW)
        ]


def application_name(version: Version) -> str:
    """What the server sees as the name of a version's connections."""
    return f"shop-{version}"
