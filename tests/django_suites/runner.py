"""Django's test runner, which notes what becomes of each test and leaves nothing of it to the next."""

from __future__ import annotations

import shutil
import unittest
from collections.abc import Iterator
from typing import Any, ClassVar

from django.conf import settings
from django.db import connections
from django.test import TestCase
from django.test.runner import DiscoverRunner
from django.test.utils import iter_test_cases

from segue.models import Event, Quarantined
from tests.django_suites import adapter

_JOURNAL = {Event._meta.db_table, Quarantined._meta.db_table}
# Django runs these in a transaction, where Segue migrates nothing: here each gets a database of its own instead.
_CHANGE_SCHEMAS = (
    "postgres_tests.test_constraints.",
    "postgres_tests.test_indexes.",
    "postgres_tests.test_operations.",
)
_PRISTINE = "pristine"


class Recorder(unittest.TextTestResult):
    """Notes each test's outcome by its id; a test's subtests count with it."""

    outcomes: ClassVar[dict[str, str]] = {}

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        """Leave nothing of the test's releases, and nothing of a test that failed, to the next test."""
        super().stopTest(test)
        outcome = self.outcomes.setdefault(test.id(), "passed")
        allowed = getattr(test, "databases", ())
        for connection in (connections[alias] for alias in (connections if allowed == "__all__" else allowed)):
            if connection.in_atomic_block:
                continue  # What the test did is rolled back with its transaction, and Segue does nothing inside one.
            if outcome == "failed" or _changes_schema(test):
                _restore(connection)
            elif connection.connection is not None:
                _clean(connection)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        """Note a test that does not apply to this database."""
        super().addSkip(test, reason)
        self.outcomes[test.id()] = "skipped"

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        """Note a test, or a class's or module's preparation, that raised."""
        super().addError(test, err)
        self.outcomes[test.id()] = "failed"

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        """Note a test that asserts something else."""
        super().addFailure(test, err)
        self.outcomes[test.id()] = "failed"

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:  # noqa: N802
        """Note a test of which a part failed."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.outcomes[test.id()] = "failed"

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        """Note a test that Django expects to fail here."""
        super().addUnexpectedSuccess(test)
        self.outcomes[test.id()] = "failed"


class Runner(DiscoverRunner):
    """Runs a suite with the recorder, and with Segue unless the settings say STOCK."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not settings.STOCK:
            adapter.install()  # before the tests are loaded, which import what it replaces

    def build_suite(self, *args: Any, **options: Any) -> Any:
        """Load the tests, and take those that change a schema out of Django's transactions."""
        suite = super().build_suite(*args, **options)
        if not settings.STOCK:
            for test in iter_test_cases(suite):
                if _changes_schema(test):
                    type(test)._databases_support_transactions = classmethod(lambda cls: False)
        return suite

    def setup_databases(self, **options: Any) -> Any:
        """Make the databases, and a copy of each to restore it from."""
        made = super().setup_databases(**options)
        for connection, _, _ in made:
            connection.close()
            connection.creation.clone_test_db(_PRISTINE, verbosity=0)
        return made

    def teardown_databases(self, old_config: Any, **options: Any) -> None:
        """Drop the databases and their copies."""
        for connection, _, _ in old_config:
            connection.creation.destroy_test_db(suffix=_PRISTINE, verbosity=0)
        super().teardown_databases(old_config, **options)

    def get_resultclass(self) -> type[unittest.TextTestResult]:
        """Return the recorder."""
        return Recorder


def _changes_schema(test: unittest.TestCase) -> bool:
    return isinstance(test, TestCase) and test.id().startswith(_CHANGE_SCHEMAS)


def _clean(connection: Any) -> None:
    """Empty the journal and drop what is retired."""
    with connection.cursor() as cursor:
        for statement in list(_leftovers(connection, cursor)):
            cursor.execute(statement)


def _leftovers(connection: Any, cursor: Any) -> Iterator[str]:
    quote = connection.ops.quote_name
    for table in connection.introspection.table_names(cursor):
        if table in _JOURNAL:
            yield f"DELETE FROM {quote(table)}"
        elif table.startswith("segue_"):
            yield f"DROP TABLE {quote(table)}"
    if connection.vendor == "postgresql":
        cursor.execute("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'segue_')")
        yield from [f"DROP SCHEMA {quote(name)} CASCADE" for (name,) in cursor.fetchall()]


def _restore(connection: Any) -> None:
    """Put the database back as it was before the first test."""
    name = connection.settings_dict["NAME"]
    copy = connection.creation.get_test_db_clone_settings(_PRISTINE)["NAME"]
    connection.close()
    if connection.vendor == "sqlite":
        shutil.copy(copy, name)
        return
    quote = connection.ops.quote_name
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE {quote(name)} WITH (FORCE)")
        cursor.execute(f"CREATE DATABASE {quote(name)} TEMPLATE {quote(copy)}")
