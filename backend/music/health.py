"""Tells a load balancer whether this process lives, and whether it may be sent requests.

Answers say what is wrong in fixed words; hosts, names and errors go to the log alone.
"""

import logging

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

logger = logging.getLogger(__name__)


@never_cache
@require_safe
def live(_request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers. Asks no database: restarting would not mend one."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def ready(_request: HttpRequest) -> JsonResponse:
    """200 when requests can be served, else 503 with a reason."""
    reason = why_not_ready(connections[DEFAULT_DB_ALIAS])
    if reason is None:
        return JsonResponse({"status": "ok"})
    return JsonResponse({"status": "unavailable", "reason": reason}, status=503)


def why_not_ready(connection: BaseDatabaseWrapper) -> str | None:
    """What keeps requests from being served; None when nothing does."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (DatabaseError, InterfaceError):
        logger.exception("The database does not answer.")
        return "The database does not answer."
    if pending:
        logger.warning("Unapplied migrations: %s", ", ".join(str(migration) for migration, _ in pending))
        return "Migrations are not applied."
    return None
