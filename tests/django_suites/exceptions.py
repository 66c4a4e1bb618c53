"""The tests of Django's that fail with Segue only, and why each is right to; checked both ways.

A test belongs here for what it asks of Django's inside or of the moment before finalize, never for what a user of
either would find missing.
"""

from __future__ import annotations

from collections.abc import Mapping

Listed = Mapping[str, tuple[str, ...]]

_ANYWHERE: Listed = {
    "makes a method of Django's executor fail that Segue does not call: its record commits with its journal": (
        "migrations.test_executor.ExecutorTests.test_migrations_applied_and_recorded_atomically",
    ),
    "asks the executor for a plan of both directions, which no command makes": (
        "migrations.test_executor.ExecutorTests.test_mixed_plan_not_supported",
    ),
}
_POSTGRESQL: Listed = {
    **_ANYWHERE,
    "counts or numbers the statements, and those that look for locks and facts are statements too": (
        "migrations.test_operations.OperationTests.test_rename_index",
        "postgres_tests.test_operations.CreateCollationTests.test_create",
        "postgres_tests.test_operations.CreateCollationTests.test_create_collation_alternate_provider",
        "postgres_tests.test_operations.CreateCollationTests.test_create_non_deterministic_collation",
        "postgres_tests.test_operations.CreateCollationTests.test_no_allow_migrate",
        "postgres_tests.test_operations.CreateExtensionTests.test_allow_migrate",
        "postgres_tests.test_operations.CreateExtensionTests.test_create_existing_extension",
        "postgres_tests.test_operations.CreateExtensionTests.test_drop_nonexistent_extension",
        "postgres_tests.test_operations.CreateExtensionTests.test_no_allow_migrate",
        "postgres_tests.test_operations.RemoveCollationTests.test_no_allow_migrate",
        "postgres_tests.test_operations.RemoveCollationTests.test_remove",
        "schema.tests.SchemaTests.test_alter_field_default_doesnt_perform_queries",
    ),
    "counts the statements in the log of stock's editor; Segue's are in its journal": (
        "schema.tests.SchemaTests.test_unique_and_reverse_m2m",
        "schema.tests.SchemaTests.test_unique_no_unnecessary_fk_drops",
    ),
    "expects PostgreSQL's words for rows that Segue finds, and counts, before it changes anything": (
        "postgres_tests.test_operations.ValidateConstraintTests.test_validate",
        "schema.tests.SchemaTests.test_alter_array_field_decrease_base_field_length",
        "schema.tests.SchemaTests.test_alter_array_field_decrease_nested_base_field_length",
        "schema.tests.SchemaTests.test_alter_char_field_decrease_length",
    ),
    "expects a refusal in a transaction, and Segue builds and drops such an index outside one in any migration": (
        "postgres_tests.test_operations.AddIndexConcurrentlyTests.test_requires_atomic_false",
        "postgres_tests.test_operations.RemoveIndexConcurrentlyTests.test_requires_atomic_false",
    ),
    "needs the transaction that Django runs it in, which Segue refuses to migrate in: its constraint is deferred": (
        "postgres_tests.test_constraints.ExclusionConstraintTests.test_range_adjacent_initially_deferred",
        "postgres_tests.test_constraints.ExclusionConstraintTests.test_range_adjacent_initially_deferred_with_condition",
    ),
    "looks for a dropped index in the migration that drops it: old code has it until finalize": (
        "schema.tests.SchemaTests.test_remove_constraints_capital_letters",
    ),
    "drops a collation that the table which it deleted still uses: a deleted table stays until segue purge": (
        "schema.tests.SchemaTests.test_relation_to_collation_charfield",
        "schema.tests.SchemaTests.test_unique_with_collation_charfield",
    ),
    "reads what --verbosity 2 prints between a migration's name and its OK, where Segue tells of the steps": (
        "migrations.test_commands.MigrateTests.test_migrate",
        "migrations.test_commands.MigrateTests.test_showmigrations_list_squashed",
    ),
}
_SQLITE: Listed = {
    **_ANYWHERE,
    "expects what a migration with atomic = False had done to stay when it fails: Segue takes it back": (
        "migrations.test_executor.ExecutorTests.test_atomic_operation_in_non_atomic_migration",
        "migrations.test_executor.ExecutorTests.test_non_atomic_migration",
    ),
}

REASONS = dict.fromkeys((*_POSTGRESQL, *_SQLITE))
EXCEPTIONS = {
    database: {test: reason for reason, tests in listed.items() for test in tests}
    for database, listed in (("postgresql", _POSTGRESQL), ("sqlite", _SQLITE))
}
