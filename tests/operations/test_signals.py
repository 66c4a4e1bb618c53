"""pre_migrate and post_migrate as the stock command sends them, and what Django's own apps do when they hear them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.core.management.commands import migrate as stock
from django.db import migrations, models
from django.db.models.signals import post_migrate, pre_migrate

from tests.project import Project

ID = ("id", models.BigAutoField(primary_key=True))


@contextmanager
def _listening() -> Iterator[list[Any]]:
    """Note each signal of the block: which, of which app, with what plan, and the shop's models in its state."""
    heard: list[Any] = []

    def note(signal: Any, sender: Any, plan: Any, apps: Any, verbosity: int, interactive: bool, **_: Any) -> None:
        name = "pre" if signal is pre_migrate else "post"
        shop = sorted(model.__name__ for model in apps.get_models() if model._meta.app_label == "shop")
        steps = [(migration.name, backwards) for migration, backwards in plan]
        heard.append((name, sender.label, steps, shop, verbosity, interactive))

    for signal in (pre_migrate, post_migrate):
        signal.connect(note)
    try:
        yield heard
    finally:
        for signal in (pre_migrate, post_migrate):
            signal.disconnect(note)


def _stock(*arguments: str) -> None:
    call_command(stock.Command(), *arguments, database="stock", verbosity=0, interactive=False)


def _segue(*arguments: str) -> None:
    call_command("migrate", *arguments, verbosity=0, interactive=False)


def _rights(alias: str) -> Any:
    kinds = ContentType.objects.using(alias).values_list("app_label", "model")
    rights = Permission.objects.using(alias).values_list("content_type__model", "codename")
    return sorted(kinds), sorted(rights)


def _assert_as_stock(ours: Callable[[], object], theirs: Callable[[], object]) -> list[Any]:
    """Both send the same signals, and leave the same content types and permissions."""
    with _listening() as heard:
        ours()
    with _listening() as expected:
        theirs()
    assert heard == expected
    assert _rights("default") == _rights("stock")
    return heard


def test_every_way_sends_what_stock_sends_and_ends_with_the_same_rights(project: Project) -> None:
    for app in ("auth", "contenttypes"):
        _segue(app)
        _stock(app)
    project.migration(migrations.CreateModel("Author", [ID]), migrations.CreateModel("Gone", [ID]))
    _assert_as_stock(project.apply, lambda: _stock("shop"))
    project.finalize()
    author = ContentType.objects.get(app_label="shop", model="author").pk
    project.migration(
        migrations.RenameModel("Author", "Writer"),
        migrations.CreateModel("Fan", [ID]),
        migrations.DeleteModel("Gone"),
    )

    heard = _assert_as_stock(project.apply, lambda: _stock("shop"))
    assert {name for name, *_ in heard} == {"pre", "post"}
    _assert_as_stock(project.rollback, lambda: _stock("shop", "0001"))
    assert ContentType.objects.get(pk=author).model == "author"
    _assert_as_stock(project.apply, lambda: _stock("shop"))
    project.finalize()
    assert _rights("default") == _rights("stock")
    assert ContentType.objects.get(pk=author).model == "writer"
    _assert_as_stock(project.rollback, lambda: _stock("shop", "0001"))
    _assert_as_stock(lambda: _segue("shop"), lambda: _stock("shop"))
    _assert_as_stock(lambda: _segue("shop", "0001"), lambda: _stock("shop", "0001"))
    assert ContentType.objects.get(pk=author).model == "author"


def test_signals_are_sent_when_there_is_nothing_to_do_too(project: Project) -> None:
    project.migration(migrations.CreateModel("Author", [ID]))
    call_command("migrate", verbosity=0)
    _stock()

    _assert_as_stock(project.apply, lambda: _stock("shop"))
