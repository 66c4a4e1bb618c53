"""Django's migration graph and state, and the record of what is applied.

Everything that depends on how Django keeps its own migrations is here. Runs nothing against a schema.
"""

from __future__ import annotations

import hashlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from django.apps import apps
from django.contrib.contenttypes.management import RenameContentType, inject_rename_contenttypes_operations
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from django.db.migrations.exceptions import AmbiguityError, NodeNotFoundError
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState

from segue.core.errors import UsageError

Key = tuple[str, str]
MigrationPlan = list[tuple[Migration, bool]]


def release_tag(migrations: Iterable[Key]) -> str:
    """Return eight hex characters that tell apart two sets of migrations."""
    lines = sorted(f"{app}.{name}" for app, name in migrations)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


def installed_migrations() -> list[Key]:
    """Return the migrations that lie on disk, by their file names: no migration is imported."""
    found = []
    for config in apps.get_app_configs():
        module_name, _ = MigrationLoader.migrations_module(config.label)
        if module_name is None:
            continue
        try:
            module = import_module(module_name)
        except ModuleNotFoundError:
            continue  # The app has no migrations: Django treats it the same way.
        names = (name for _, name, is_package in pkgutil.iter_modules(module.__path__) if not is_package)
        found += [(config.label, name) for name in names if name[0] not in "_~"]
    return found


def file_digest(migration: Migration) -> str:
    """Return a digest of the file that a migration was read from, "" when it has none."""
    file = getattr(sys.modules.get(type(migration).__module__), "__file__", None)
    try:
        return hashlib.sha256(Path(file or "").read_bytes()).hexdigest()
    except OSError:
        return ""  # A migration in an archive, or one made in memory: it cannot be edited between two commands.


class _Loader(MigrationLoader):
    """Django's, which reads the files once: only what is applied changes while a command runs."""

    replace_migrations: bool

    def load_disk(self) -> None:
        """Read the migrations from disk if they have not been read yet."""
        if not self.disk_migrations:
            super().load_disk()

    def read_applied(self) -> None:
        """Read again what is applied, and which squashed migrations stand for others by that."""
        self.replace_migrations = True
        self.build_graph()


class Carrier(Protocol):
    """Carries one migration out and records it."""

    def forward(self, migration: Migration, state: ProjectState) -> ProjectState:
        """Apply the migration to the database; return the state after it."""

    def backward(self, migration: Migration, state: ProjectState) -> ProjectState:
        """Unapply the migration; `state` is the one before it."""


class Migrator(MigrationExecutor):
    """Django's executor, which keeps the states, with a carrier that does the work.

    `--fake` and what `--fake-initial` finds already there are left to Django.
    """

    carrier: Carrier

    if TYPE_CHECKING:
        # Parts of Django's executor that its stubs leave out.
        _create_project_state: Any
        _migrate_all_forwards: Any
        _migrate_all_backwards: Any

    def __init__(self, connection: BaseDatabaseWrapper, progress_callback: Callable[..., None] | None = None) -> None:
        """Do as Django's, but read the migrations when they are first asked for: whoever holds the target asks then."""
        self.connection = connection
        self.recorder = MigrationRecorder(connection)
        self.progress_callback = progress_callback

    @cached_property
    def loader(self) -> _Loader:  # type: ignore[override]  # the stubs know no attribute that is made when asked for
        """The migrations on disk and those that are applied."""
        return _Loader(self.connection)

    def beside(self, carrier: Carrier) -> Self:
        """Return one that knows the same migrations, to walk them with another carrier and without a word.

        It makes models of its own: those of two states are told of each other, and what one walk adds the other finds.
        """
        other = copy(self)
        other.carrier, other.progress_callback = carrier, None
        return other

    def apply_migration(
        self, state: ProjectState, migration: Migration, fake: bool = False, fake_initial: bool = False
    ) -> ProjectState:
        """Apply one migration through the carrier."""
        if fake or (fake_initial and self.detect_soft_applied(state, migration)[0]):
            return super().apply_migration(state, migration, fake=fake, fake_initial=fake_initial)
        self.progress("apply_start", migration)
        state = self.carrier.forward(migration, state)
        self.progress("apply_success", migration)
        return state

    def unapply_migration(self, state: ProjectState, migration: Migration, fake: bool = False) -> ProjectState:
        """Unapply one migration through the carrier."""
        if fake:
            return super().unapply_migration(state, migration, fake=True)
        self.progress("unapply_start", migration)
        state = self.carrier.backward(migration, state)
        self.progress("unapply_success", migration)
        return state

    def progress(self, action: str, migration: Migration) -> None:
        """Tell whoever called of a migration's beginning or end, in the stock command's words."""
        if self.progress_callback:
            self.progress_callback(action, migration, False)

    def reload(self, planned: MigrationPlan | None = None) -> None:
        """Read again what is applied: another run may have changed it.

        The migrations stay those that are known or `planned`: whoever heard pre_migrate may have added operations.
        """
        known = {(m.app_label, m.name): m for m, _ in planned or []}
        if "loader" in self.__dict__:
            known = {**self.loader.graph.nodes, **known}
            self.loader.read_applied()
        if any((m.app_label, m.name) not in self.loader.graph.nodes for m, _ in planned or []):
            # The plan goes back into a squashed migration: then Django knows its parts, and not the whole.
            self.loader.replace_migrations = False
            self.loader.build_graph()
        nodes = self.loader.graph.nodes
        nodes.update({key: known[key] for key in nodes if known.get(key) is not None})


def record(recorder: MigrationRecorder, migration: Migration, *, backwards: bool) -> None:
    """Write or remove the migration's rows in django_migrations, those that it replaces too."""
    keys: Sequence[Key] = [(app, name) for app, name in migration.replaces]
    if backwards:
        for app, name in [*keys, (migration.app_label, migration.name)]:
            recorder.record_unapplied(app, name)
    else:
        for app, name in keys or [(migration.app_label, migration.name)]:
            recorder.record_applied(app, name)


def unrecord(recorder: MigrationRecorder, key: Key, migration: Migration | None) -> None:
    """Remove a migration's rows; its file may be gone, and then it replaced nothing that is known."""
    if migration is None:
        recorder.record_unapplied(*key)
    else:
        record(recorder, migration, backwards=True)


def is_fresh(recorder: MigrationRecorder) -> bool:
    """Whether no migration has ever been recorded: nobody uses such a database yet."""
    return not (recorder.has_table() and recorder.migration_qs.exists())


def targets(loader: MigrationLoader, app: str | None, name: str | None) -> list[tuple[str, str | None]]:
    """Return the graph's nodes that an app and a migration's name or prefix mean; "zero" is before the first."""
    _require_one_end(loader)
    if app is None:
        return [*loader.graph.leaf_nodes()]
    try:
        apps.get_app_config(app)
    except LookupError as error:
        raise UsageError(str(error), next_command="manage.py showmigrations, which lists the apps") from error
    if app not in loader.migrated_apps:
        raise UsageError(f'App "{app}" does not have migrations.', next_command=f"manage.py makemigrations {app}")
    if name is None:
        return [*loader.graph.leaf_nodes(app)]
    if name == "zero":
        return [(app, None)]
    return [_find(loader, app, name)]


def _require_one_end(loader: MigrationLoader) -> None:
    """Two last migrations of an app would be applied in an order that nobody has chosen; stock refuses them too."""
    if conflicts := loader.detect_conflicts():
        ends = "; ".join(f"{', '.join(sorted(names))} in {app}" for app, names in sorted(conflicts.items()))
        raise UsageError(
            f"There is more than one last migration: {ends}.",
            next_command="manage.py makemigrations --merge",
        )


def _find(loader: MigrationLoader, app: str, name: str) -> Key:
    listing = f"manage.py showmigrations {app}"
    try:
        key = (app, str(loader.get_migration_by_prefix(app, name).name))
    except AmbiguityError as error:
        raise UsageError(f'More than one migration of "{app}" begins with "{name}".', next_command=listing) from error
    except KeyError as error:
        raise UsageError(f'No migration of "{app}" begins with "{name}".', next_command=listing) from error
    if key not in loader.graph.nodes and key in loader.replacements:
        replaced: Any = loader.replacements[key].replaces[-1]
        return (replaced[0], replaced[1])
    return key


def _not_in_graph(migrator: Migrator, key: Key) -> UsageError:
    replacing = [name for name, migration in migrator.loader.replacements.items() if key in migration.replaces]
    if replacing:
        return UsageError(
            f"Migration {'.'.join(key)} is part of {'.'.join(replacing[0])} now and cannot be unapplied by itself.",
            next_command="run the rollback from the code before the squash",
        )
    return UsageError(
        f"Migration {'.'.join(key)} is applied, but its file is not in this code.",
        next_command="run the rollback from the code that applied it",
    )


def backwards_plan(migrator: Migrator, keys: Sequence[Key]) -> MigrationPlan:
    """Return the plan that unapplies exactly these migrations, newest first.

    Raises UsageError when a file is missing, or when another applied migration depends on one of them.
    """
    graph = migrator.loader.graph
    applied = set(migrator.loader.applied_migrations)
    wanted = [key for key in keys if key in applied]
    order: list[Key] = []
    for key in reversed(wanted):
        try:
            chain = graph.backwards_plan(key)
        except NodeNotFoundError as error:
            raise _not_in_graph(migrator, key) from error
        for node in chain:
            if node in applied and node not in wanted:
                raise UsageError(
                    f"Migration {node[0]}.{node[1]} depends on {key[0]}.{key[1]} and belongs to another release.",
                    next_command="roll that release back first; segue status shows it",
                )
            if node in applied and node not in order:
                order.append(node)
    return [(with_content_types(migrator, graph.nodes[node]), True) for node in order]


def with_content_types(migrator: Migrator, migration: Migration) -> Migration:
    """Let a migration that renames models rename their content types too, as Django does before it migrates; once.

    What a release did is undone by its operations' numbers, so a migration that is read again must have this one too.
    """
    known = ("contenttypes", "0001_initial") in migrator.loader.applied_migrations
    if known and not any(isinstance(operation, RenameContentType) for operation in migration.operations):
        plan = [(migration, True)]
        inject_rename_contenttypes_operations(plan=plan, using=migrator.connection.alias)
    return migration


def state_before(migrator: Migrator, migration: Migration) -> ProjectState:
    """Return the state before a migration as Django has it: with every applied one that its plan has before."""
    state: ProjectState = migrator._create_project_state()
    applied = migrator.loader.applied_migrations
    for each, _ in migrator.migration_plan(migrator.loader.graph.leaf_nodes(), clean_start=True):
        key = (each.app_label, each.name)
        if key == (migration.app_label, migration.name):
            break
        if key in applied:
            state = each.mutate_state(state, preserve=False)
    return state
