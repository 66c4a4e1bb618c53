"""Each environment's settings, read in a process of their own."""

import json

from django.test import SimpleTestCase

from .cases import run_python

SECRETS = {"SECRET_KEY": "$" + "k3y-" * 20, "ALLOWED_HOSTS": "villen.example, api.villen.example"}
PRODUCTION = "postgresql://villen:p%40ss@db.example:5433/villen"
STAGING = "postgresql://villen@staging.example/villen_staging"

SHOW = """
import importlib, json, sys
settings = importlib.import_module(f"core.settings.{sys.argv[1]}")
print(json.dumps({
    "debug": settings.DEBUG,
    "hosts": settings.ALLOWED_HOSTS,
    "key": settings.SECRET_KEY,
    "segue": settings.SEGUE,
    "databases": {alias: database.get("HOST", "") for alias, database in settings.DATABASES.items()},
}))
"""


class SettingsTests(SimpleTestCase):
    def read(self, name: str, **environment: str) -> dict[str, object]:
        shown = run_python("-c", SHOW, name, **environment)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        settings: dict[str, object] = json.loads(shown.stdout)
        return settings

    def assert_refused(self, name: str, message: str, **environment: str) -> None:
        shown = run_python("-c", SHOW, name, **environment)
        self.assertEqual(shown.stderr.splitlines()[-1], f"django.core.exceptions.ImproperlyConfigured: {message}")

    def test_development_needs_no_environment(self) -> None:
        settings = self.read("development")

        self.assertEqual((settings["debug"], settings["databases"], settings["segue"]), (True, {"default": ""}, {}))

    def test_development_reaches_staging_when_told_where_it_is(self) -> None:
        settings = self.read("development", STAGING_DATABASE_URL=STAGING)

        self.assertEqual(settings["databases"], {"default": "", "staging": "staging.example"})

    def test_production_reads_everything_from_the_environment(self) -> None:
        settings = self.read("production", DATABASE_URL=PRODUCTION, SEGUE_STORE="s3://backups/villen", **SECRETS)

        self.assertEqual(
            settings,
            {
                "debug": False,
                "hosts": ["villen.example", "api.villen.example"],
                "key": SECRETS["SECRET_KEY"],
                "segue": {"STORE": "s3://backups/villen"},
                "databases": {"default": "db.example"},
            },
        )

    def test_staging_aliases_stand_in_for_each_other(self) -> None:
        both = self.read("staging", DATABASE_URL=PRODUCTION, STAGING_DATABASE_URL=STAGING, **SECRETS)
        only_default = self.read("staging", DATABASE_URL=PRODUCTION, **SECRETS)
        only_staging = self.read("staging", STAGING_DATABASE_URL=STAGING, **SECRETS)

        self.assertEqual(both["databases"], {"default": "db.example", "staging": "staging.example"})
        self.assertEqual(only_default["databases"], {"default": "db.example", "staging": "db.example"})
        self.assertEqual(only_staging["databases"], {"default": "staging.example", "staging": "staging.example"})

    def test_what_is_missing_is_named(self) -> None:
        self.assert_refused("production", "Set the SECRET_KEY environment variable.")
        self.assert_refused("production", "Set the ALLOWED_HOSTS environment variable.", SECRET_KEY="k")
        self.assert_refused("production", "Set the DATABASE_URL environment variable.", **SECRETS)
        self.assert_refused(
            "staging", "Set the DATABASE_URL or the STAGING_DATABASE_URL environment variable.", **SECRETS
        )

    def test_another_engine_is_refused_in_production(self) -> None:
        self.assert_refused(
            "production",
            "DATABASE_URL must be a postgresql:// URL.",
            DATABASE_URL="sqlite:///x.sqlite3",
            **SECRETS,
        )

    def test_production_passes_djangos_own_deployment_checks(self) -> None:
        checked = run_python(
            "manage.py",
            "check",
            "--deploy",
            "--tag=security",
            "--fail-level=WARNING",
            "--settings=core.settings.production",
            DATABASE_URL=PRODUCTION,
            **SECRETS,
        )

        self.assertEqual(checked.returncode, 0, checked.stderr)
