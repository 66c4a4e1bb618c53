"""Answers whether a database is what the models expect, after a migration. Reads only; changes nothing.

Looks for what must be there, not at what else is: columns, tables and triggers that belong to an
unfinished release do no harm.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.apps import apps
from django.db import DatabaseError, InterfaceError, models, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Exists, ForeignKey, OuterRef

from .models import Song

# Below this, the planner rightly reads the whole table.
BIG_TABLE_ROWS = 10_000


class Status(Enum):
    OK = "ok"
    WARNING = "warn"
    SKIPPED = "skip"
    FAILED = "FAIL"


@dataclass(frozen=True, kw_only=True)
class Result:
    check: str
    status: Status
    detail: str

    def __str__(self) -> str:
        return f"{self.status.value:<5} {self.check}: {self.detail}"


def verify(connection: BaseDatabaseWrapper) -> Iterator[Result]:
    """Every check's result, as it comes. Costs a scan of each table that has a foreign key."""
    try:
        yield check_migrations(connection)
        tables = check_tables(connection)
        yield tables
        for name, check in CHECKS_OF_COMPLETE_TABLES.items():
            if tables.status is Status.OK:
                yield check(connection)
            else:
                yield Result(check=name, status=Status.SKIPPED, detail="tables are incomplete")
    except (DatabaseError, InterfaceError) as error:
        yield _failed("database", [str(error).strip()])


def report(connection: BaseDatabaseWrapper, write: Callable[[str], Any] = print) -> int:
    """Write a line per check and a summary; return the exit status: 0 if nothing failed, else 1."""
    results = []
    for result in verify(connection):
        write(str(result))
        results.append(result)

    failed = sum(result.status is Status.FAILED for result in results)
    write(f"Verified '{connection.alias}' ({connection.vendor}): {len(results)} checks, {failed} failed.")
    return 1 if failed else 0


def check_migrations(connection: BaseDatabaseWrapper) -> Result:
    executor = MigrationExecutor(connection)
    graph = executor.loader.graph
    pending = [str(migration) for migration, _ in executor.migration_plan(graph.leaf_nodes())]
    if pending:
        remedy = f"Run: python manage.py migrate --database={connection.alias}"
        return _failed("migrations", [f"{len(pending)} not applied ({', '.join(pending)})", remedy])
    return _ok("migrations", f"all {len(graph.nodes)} applied")


def check_tables(connection: BaseDatabaseWrapper) -> Result:
    models_of_database, missing = _models(connection), []
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
        for model in models_of_database:
            table = model._meta.db_table
            if table not in tables:
                missing.append(f"{table} is missing")
                continue
            description = connection.introspection.get_table_description(cursor, table)
            columns = {field.column for field in model._meta.local_concrete_fields}
            if lacking := columns - {column.name for column in description}:
                missing.append(f"{table} lacks {', '.join(sorted(lacking))}")
    if missing:
        return _failed("tables", missing)
    return _ok("tables", f"all {len(models_of_database)} present, with every column")


def check_indexes(connection: BaseDatabaseWrapper) -> Result:
    """Indexes and constraints of the models: by name where the model gives one, else by column."""
    found, missing = 0, []
    with connection.cursor() as cursor:
        for model in _models(connection):
            table = model._meta.db_table
            existing = connection.introspection.get_constraints(cursor, table)
            indexed = {
                tuple(one["columns"] or ())
                for one in existing.values()
                if one["index"] or one["unique"] or one["primary_key"]
            }
            names, columns = _index_names(model), _indexed_columns(model)
            lacking = [name for name in names if name not in existing]
            lacking += [f"an index on {column}" for column in columns if (column,) not in indexed]
            missing += [f"{table} lacks {what}" for what in lacking]
            found += len(names) + len(columns) - len(lacking)
    return _failed("indexes", missing) if missing else _ok("indexes", f"all {found} present")


def check_index_validity(connection: BaseDatabaseWrapper) -> Result:
    """A concurrent build that fails leaves an INVALID index behind: it costs, and serves nobody."""
    if connection.vendor != "postgresql":
        return _ok("index validity", f"{connection.vendor} has no invalid indexes")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexrelid::regclass::text FROM pg_index"
            " JOIN pg_class ON pg_class.oid = indexrelid"
            " WHERE NOT indisvalid AND relnamespace = ANY(current_schemas(false)::regnamespace[])"
            " ORDER BY 1"
        )
        invalid = [name for (name,) in cursor.fetchall()]
    if invalid:
        return _failed("index validity", [f"{name} is INVALID" for name in invalid])
    return _ok("index validity", "none is INVALID")


def check_foreign_keys(connection: BaseDatabaseWrapper) -> Result:
    """Counts rows that point at nothing, whatever the database's own constraints say."""
    checked, broken = 0, []
    for model in _models(connection):
        for field in model._meta.local_concrete_fields:
            if not isinstance(field, ForeignKey):
                continue
            parents = field.related_model._base_manager.using(connection.alias)
            rows = model._base_manager.using(connection.alias).filter(**{f"{field.name}__isnull": False})
            orphans = rows.filter(
                ~Exists(parents.filter(**{field.target_field.attname: OuterRef(field.attname)}))
            ).count()
            checked += 1
            if orphans:
                column = f"{model._meta.db_table}.{field.column}"
                broken.append(f"{orphans:,} rows point at nothing by {column}")
    return _failed("foreign keys", broken) if broken else _ok("foreign keys", f"{checked} without orphans")


def check_language_query(connection: BaseDatabaseWrapper) -> Result:
    """``Song.objects.filter(language="hindi")``: an index must serve it; on a big table, should be chosen."""
    songs = Song.objects.using(connection.alias)
    hindi = songs.filter(language=Song.Language.HINDI).values("language")
    if index := _index_in_plan(connection, hindi):
        return _ok("hindi query", f"uses {index}")

    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        # The planner is asked what it would do if it had to; only PostgreSQL's ever declines an index.
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        index = _index_in_plan(connection, hindi)
    if not index:
        return _failed("hindi query", ["no index serves it"])
    if songs[:BIG_TABLE_ROWS].count() < BIG_TABLE_ROWS:
        return _ok("hindi query", f"{index} serves it; the table is still small enough to be read whole")
    detail = f"{index} could serve it, but the planner reads all of music_song. Run: VACUUM (ANALYZE) music_song"
    return Result(check="hindi query", status=Status.WARNING, detail=detail)


CHECKS_OF_COMPLETE_TABLES: dict[str, Callable[[BaseDatabaseWrapper], Result]] = {
    "indexes": check_indexes,
    "index validity": check_index_validity,
    "foreign keys": check_foreign_keys,
    "hindi query": check_language_query,
}


def _index_in_plan(connection: BaseDatabaseWrapper, songs: models.QuerySet[Any, Any]) -> str | None:
    """The index that the engine looks ``language`` up in; None if it reads the whole table."""
    if connection.vendor == "postgresql":
        nodes = _plan_nodes(json.loads(songs.explain(format="json"))[0]["Plan"])
        used = (node["Index Name"] for node in nodes if "language" in node.get("Index Cond", ""))
        return next(used, None)
    # For instance: "3 0 0 SEARCH music_song USING COVERING INDEX music_song_language_0a04dfd9 (language=?)".
    match = re.search(r"SEARCH .* INDEX (\S+) \(language=", songs.explain())
    return match[1] if match else None


def _plan_nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _plan_nodes(child)


def _models(connection: BaseDatabaseWrapper) -> list[type[models.Model]]:
    """The models whose tables migrations make in this database."""
    return [
        model
        for model in apps.get_models(include_auto_created=True)
        if model._meta.can_migrate(connection) and router.allow_migrate_model(connection.alias, model)
    ]


def _index_names(model: type[models.Model]) -> list[str]:
    return [one.name for one in (*model._meta.indexes, *model._meta.constraints)]


def _indexed_columns(model: type[models.Model]) -> list[str]:
    return [field.column for field in model._meta.local_concrete_fields if field.db_index or field.unique]


def _ok(check: str, detail: str) -> Result:
    return Result(check=check, status=Status.OK, detail=detail)


def _failed(check: str, problems: Iterable[str]) -> Result:
    return Result(check=check, status=Status.FAILED, detail="; ".join(problems))
