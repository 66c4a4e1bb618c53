"""The models of one version: whatever its migrations add up to, so that they are written once.

They are made once Django is set up, because a migration's operations cannot be added up before.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from django.apps import apps
from django.conf import settings
from django.db.migrations.state import ProjectState


def define() -> None:
    """Register the models of this process's version, as `models.py` of an ordinary app would have."""
    package = import_module(settings.MIGRATION_MODULES["shop"])
    state = ProjectState()
    for name in sorted(module.name for module in iter_modules(package.__path__)):
        migration = import_module(f"{package.__name__}.{name}").Migration(name, "shop")
        for operation in migration.operations:
            operation.state_forwards("shop", state)
    for (app, _), model in state.models.items():
        if app == "shop":
            model.render(apps)
