"""What migrations of the tests do that Segue cannot see through: functions, and a third party's operations.

They stand in a module because a migration file imports them.
"""

from __future__ import annotations

import contextlib
from typing import Any

from django.db import connections, migrations, models, transaction
from django.db.migrations.operations.base import Operation

# What the code of a migration does once and cannot take back, such as sending a mail.
seen: list[str] = []
# Names of functions below that fail while they are here.
failing: set[str] = set()


def _field(model: Any, name: str, field: Any) -> Any:
    field.set_attributes_from_name(name)
    field.model = model
    return field


def isbn(model: Any) -> Any:
    """A column that old code does not know: NOT NULL with a default."""
    return _field(model, "isbn", models.CharField(max_length=13, default="none"))


def shelf(model: Any) -> Any:
    return _field(model, "shelf", models.IntegerField(null=True))


def _book(apps: Any) -> Any:
    return apps.get_model("shop", "Book")


def _rows(apps: Any, schema_editor: Any, model: str = "Book") -> Any:
    return apps.get_model("shop", model).objects.using(schema_editor.connection.alias)


def _fail_if_told(name: str) -> None:
    if name in failing:
        raise RuntimeError(f"{name} is ill")


def fail(apps: Any, schema_editor: Any) -> None:
    """Do nothing but fail."""
    raise RuntimeError("the code is ill")


def write(apps: Any, schema_editor: Any) -> None:
    """Write a row and nothing else."""
    _rows(apps, schema_editor, "Author").create(name="written first")


def see_titles_by_room(apps: Any, schema_editor: Any) -> None:
    """Go from a room to its shelves, their authors and on to their books."""
    for shelf in _rows(apps, schema_editor, "Room").get().shelf_set.all():
        seen.extend(book.title for author in shelf.author_set.all() for book in author.book_set.all())


def fail_if_told(apps: Any, schema_editor: Any) -> None:
    """Do nothing, or fail."""
    _fail_if_told("fail_if_told")


def add_isbn(apps: Any, schema_editor: Any) -> None:
    """Change the schema and nothing else."""
    schema_editor.add_field(_book(apps), isbn(_book(apps)))
    _fail_if_told("add_isbn")
    schema_editor.add_field(_book(apps), shelf(_book(apps)))


def write_and_add_isbn(apps: Any, schema_editor: Any) -> None:
    """Write a row and send a mail, change the schema, write again."""
    book = _book(apps)
    _rows(apps, schema_editor, "Author").create(name="written first")
    seen.append("mail")
    schema_editor.add_field(book, isbn(book))
    schema_editor.execute("UPDATE shop_book SET isbn = %s WHERE title = %s", ["978", "Godaan"])
    _fail_if_told("write_and_add_isbn")
    schema_editor.add_field(book, shelf(book))


def remove_isbn_and_rows(apps: Any, schema_editor: Any) -> None:
    """Undo write_and_add_isbn."""
    book = _book(apps)
    schema_editor.remove_field(book, shelf(book))
    schema_editor.remove_field(book, isbn(book))
    _rows(apps, schema_editor, "Author").filter(name="written first").delete()


def run_sql_without_a_change(apps: Any, schema_editor: Any) -> None:
    """Use execute for what changes no schema; fail then, if told."""
    schema_editor.execute("SELECT count(*) FROM shop_book")
    schema_editor.execute("CREATE TEMPORARY TABLE some_books ON COMMIT DROP AS SELECT id FROM shop_book")
    schema_editor.execute("UPDATE shop_book SET title = 'updated' WHERE id IN (SELECT id FROM some_books)", None)
    _fail_if_told("run_sql_without_a_change")


def add_isbn_catching_everything(apps: Any, schema_editor: Any) -> None:
    """Change the schema where nothing that is raised gets out."""
    with contextlib.suppress(BaseException):
        schema_editor.add_field(_book(apps), isbn(_book(apps)))


def add_isbn_in_a_transaction(apps: Any, schema_editor: Any) -> None:
    """Change the schema in a transaction of its own."""
    with transaction.atomic(using=schema_editor.connection.alias):
        schema_editor.add_field(_book(apps), isbn(_book(apps)))


def add_isbn_with_another_editor(apps: Any, schema_editor: Any) -> None:
    """Change the schema with an editor that the connection gives away."""
    with connections[schema_editor.connection.alias].schema_editor() as editor:
        editor.add_field(_book(apps), isbn(_book(apps)))
        editor.add_index(_book(apps), models.Index(fields=["pages"], name="book_pages"))


def look_at_the_editor(apps: Any, schema_editor: Any) -> None:
    """Note what third parties ask of an editor; leave a statement for the end."""
    seen.append(
        f"{schema_editor.connection.alias} {schema_editor.quote_name('a b')} {schema_editor.quote_value(chr(39))} "
        f"{schema_editor.atomic_migration} {schema_editor.collect_sql} {schema_editor.connection.in_atomic_block}"
    )
    schema_editor.deferred_sql.append("CREATE INDEX book_language ON shop_book (language)")


def write_what_is_rolled_back_and_fail(apps: Any, schema_editor: Any) -> None:
    """Write in a transaction that is rolled back; fail outside it."""
    with contextlib.suppress(LookupError), transaction.atomic(using=schema_editor.connection.alias):
        _rows(apps, schema_editor, "Author").create(name="rolled back")
        raise LookupError
    raise RuntimeError("the code is ill")


def write_in_a_transaction_and_fail(apps: Any, schema_editor: Any) -> None:
    """Write in a transaction that is committed; fail outside it."""
    with transaction.atomic(using=schema_editor.connection.alias):
        _rows(apps, schema_editor, "Author").create(name="committed")
        _rows(apps, schema_editor, "Author").create(name="committed")
    raise RuntimeError("the code is ill")


def write_then_build_index(apps: Any, schema_editor: Any) -> None:
    """Write, then build an index by hand."""
    _rows(apps, schema_editor).update(title="written")
    schema_editor.execute('CREATE INDEX CONCURRENTLY "book_by_hand" ON shop_book (pages)')


def drop_index_and_restore(apps: Any, schema_editor: Any) -> None:
    """Undo write_then_build_index."""
    schema_editor.execute('DROP INDEX CONCURRENTLY "book_by_hand"')
    _rows(apps, schema_editor).update(title="Godaan")


def head_volumes(apps: Any, schema_editor: Any) -> None:
    """Write through a model that was renamed."""
    _rows(apps, schema_editor, "Volume").filter(heading="Godaan").update(heading="headed")


def unhead_volumes(apps: Any, schema_editor: Any) -> None:
    """Undo head_volumes."""
    _rows(apps, schema_editor, "Volume").update(heading="Godaan")


class AddFieldTwice(migrations.AddField):
    """A subclass that does more to the database than its base."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        super().database_forwards(app_label, schema_editor, from_state, to_state)
        model = to_state.apps.get_model(app_label, self.model_name)
        schema_editor.add_index(model, models.Index(fields=[self.name], name="by_field"))

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        schema_editor.remove_index(model, models.Index(fields=[self.name], name="by_field"))
        super().database_backwards(app_label, schema_editor, from_state, to_state)


class AddFieldForReaders(migrations.AddField):
    """A subclass that does to the database what its base does."""

    def describe(self) -> str:
        return "Add what readers asked for"


class Stamp(Operation):
    """A third party's operation that writes rows and changes no schema."""

    reversible = True

    def __init__(self, title: str) -> None:
        self.title = title

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Change nothing."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        _rows(to_state.apps, schema_editor).update(title=self.title)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        _rows(to_state.apps, schema_editor).update(title="unstamped")

    def describe(self) -> str:
        return f"Stamp every book with {self.title}"
