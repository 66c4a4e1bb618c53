"""`python -m tests.histories oauth`: the migrations of public projects, one at a time, with Segue and with stock.

Without a name every project, each in a process of its own. `--report` then writes docs/histories.md, from these walks
and from the last one of every other project.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from tests.histories.projects import HISTORIES


def main() -> int:
    """Walk what the command line names; return how many differ from stock."""
    parser = argparse.ArgumentParser(prog="python -m tests.histories", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(HISTORIES)}")
    parser.add_argument("--report", action="store_true", help="write docs/histories.md")
    parser.add_argument("--until", default="", help="stop after the migration that begins so")
    options = parser.parse_args()
    if len(options.names) == 1 and not options.report:
        return _walk(options.names[0], options.until)
    codes = [_in_a_process(name) for name in options.names or HISTORIES]
    if options.report:
        from tests.histories.report import write

        found = [history.result for history in HISTORIES.values() if history.result.exists()]
        write([json.loads(file.read_text(encoding="utf-8")) for file in found])
    return sum(map(bool, codes))


def _walk(name: str, until: str) -> int:
    HISTORIES[name].install()
    os.environ["SEGUE_HISTORY"] = name
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.histories.settings"
    import django

    django.setup()
    from segue.engines.postgresql import PostgreSQL, canary
    from segue.engines.postgresql.server import Server
    from tests.histories.walk import Walk

    # What others wait for is not the question here, and its processes take half a second a release.
    PostgreSQL.canary = lambda engine, _: canary.watching(engine.connect, ())  # type: ignore[method-assign]
    with Server.temporary(settings={"fsync": "off", "max_connections": "60"}) as server:
        walk = Walk(server, HISTORIES[name], lambda line: print(line, flush=True))
        try:
            result = walk.go(until)
        finally:
            HISTORIES[name].result.write_text(json.dumps(walk.result.as_json(), indent=1), encoding="utf-8")
    faults = result.all_faults
    print(f"\n{result.package}: {len(result.steps)} migrations, {len(faults)} faults")
    for fault in faults:
        print(f"  {fault}")
    return 1 if faults else 0


def _in_a_process(name: str) -> int:
    """Django's settings and registry are one a process."""
    return subprocess.run([sys.executable, "-m", "tests.histories", name], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
