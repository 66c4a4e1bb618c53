"""What migrations of the tests do with rows: functions, in a module because a migration file imports them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
from django.db.models import F


def _rows(apps: Any, schema_editor: Any, model: str = "Book") -> Any:
    return apps.get_model("shop", model).objects.using(schema_editor.connection.alias)


def double_pages(apps: Any, schema_editor: Any) -> None:
    """Change every row by one statement, in a way that must not be done twice."""
    _rows(apps, schema_editor).update(pages=F("pages") * 2)


def halve_pages(apps: Any, schema_editor: Any) -> None:
    """The reverse of `double_pages`, which does not know what has become of a row since."""
    _rows(apps, schema_editor).update(pages=F("pages") / 2)


def shout(apps: Any, schema_editor: Any) -> None:
    """Change row by row, some of them twice."""
    for book in _rows(apps, schema_editor).order_by("id"):
        book.title = book.title.upper()
        book.save()
        if book.pages > 100:
            book.title += "!"
            book.save()


def replace_authors(apps: Any, schema_editor: Any) -> None:
    """Make a row, move what refers to another one to it, and delete that."""
    authors = _rows(apps, schema_editor, "Author")
    for old in list(authors.order_by("id")):
        new = authors.create(name=f"{old.name} II")
        _rows(apps, schema_editor).filter(author_id=old.id).update(author_id=new.id)
        old.delete()


def add_books(apps: Any, schema_editor: Any) -> None:
    """Make rows that refer to one that is made, too."""
    author = _rows(apps, schema_editor, "Author").create(name="Anonymous")
    for number in range(3):
        _rows(apps, schema_editor).create(title=f"Part {number}", author_id=author.id, pages=number, language="hi")


def give_tokens(apps: Any, schema_editor: Any) -> None:
    """Fill a column with what nobody can compute again."""
    for book in _rows(apps, schema_editor).filter(token=""):
        book.token = uuid4().hex
        book.save()


def delete_books(apps: Any, schema_editor: Any) -> None:
    """Delete every row."""
    _rows(apps, schema_editor).all().delete()


def nothing(apps: Any, schema_editor: Any) -> None:
    """Read, and write nothing."""
    _rows(apps, schema_editor).count()


def copy_authors(apps: Any, schema_editor: Any) -> None:
    """Write past Django's cursors."""
    with (
        schema_editor.connection.cursor() as cursor,
        cursor.cursor.copy("COPY shop_author (id, name) FROM STDIN") as copy,
    ):
        copy.write_row((77, "copied"))


def copy_and_rename_authors(apps: Any, schema_editor: Any) -> None:
    """Write past Django's cursors, and then by one."""
    copy_authors(apps, schema_editor)
    _rows(apps, schema_editor, "Author").update(name="renamed")


def double_pages_and_fail(apps: Any, schema_editor: Any) -> None:
    """Change rows and fail."""
    double_pages(apps, schema_editor)
    raise RuntimeError("the code is ill")


def write_beside(apps: Any, schema_editor: Any) -> None:
    """Change one row, and let another session change another one meanwhile."""
    _rows(apps, schema_editor).filter(title="Godaan").update(pages=20)
    given = schema_editor.connection.get_connection_params()
    place = {name: given[name] for name in ("dbname", "host", "port", "user")}
    with psycopg.connect(**place) as beside:
        beside.execute("SET statement_timeout = '5s'")
        beside.execute("UPDATE shop_book SET pages = 21 WHERE title <> 'Godaan'")


def log(apps: Any, schema_editor: Any) -> None:
    """Write to a table without a primary key."""
    schema_editor.connection.cursor().execute("INSERT INTO shop_log VALUES ('written')")
