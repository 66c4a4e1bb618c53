"""Where Django's own tests come from: wheels carry none, the source distribution of the same version does."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import django
from filelock import FileLock

CACHE = Path(sys.prefix) / "django-suites"


def tests_folder() -> Path:
    """Return the `tests` folder of the installed Django's version, downloading it the first time."""
    version = django.get_version()
    source = CACHE / f"django-{version}"
    CACHE.mkdir(exist_ok=True)
    with FileLock(CACHE / "download.lock"):  # Several suites begin at the same time.
        if not source.is_dir():
            _download(version, source)
    return source / "tests"


def _download(version: str, source: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", "django", "--dest", folder]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, f"django=={version}"], check=True)
        archive = next(Path(folder).glob("*.tar.gz"))
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        next(path for path in Path(folder).iterdir() if path.is_dir()).rename(source)
