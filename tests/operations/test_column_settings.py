"""What the owner of a database has set for a column stays set for the twin that takes its place."""

from __future__ import annotations

import pytest
from django.db import migrations, models
from django.db.migrations.operations.base import Operation

from segue.core.errors import StepFailed
from tests.operations.sequences import told
from tests.project import Project

RENAMED = migrations.RenameField("Book", "title", "name")
RETYPED = migrations.AlterField("Book", "title", models.JSONField())

_SETTINGS = """
    SELECT attstattarget, attstorage::text, attcompression::text, attoptions, attacl::text FROM pg_attribute
    WHERE attrelid = 'shop_book'::regclass AND attname = %s
"""


@pytest.fixture
def shop(project: Project) -> Project:
    project.live(
        project.migration(
            migrations.CreateModel(
                "Book",
                [("id", models.BigAutoField(primary_key=True)), ("title", models.TextField(default='"untitled"'))],
            )
        )
    )
    project.sql('CREATE ROLE "reader\'s"')
    project.sql('GRANT SELECT (title), UPDATE (title) ON shop_book TO "reader\'s"')
    project.sql("GRANT SELECT (title) ON shop_book TO PUBLIC")
    project.sql("ALTER TABLE shop_book ALTER title SET STATISTICS 500, ALTER title SET STORAGE EXTERNAL")
    project.sql("ALTER TABLE shop_book ALTER title SET COMPRESSION pglz, ALTER title SET (n_distinct = -0.5)")
    yield project
    project.sql('DROP OWNED BY "reader\'s"')
    project.sql('DROP ROLE "reader\'s"')


@pytest.mark.parametrize(
    ("operation", "column"), [(RENAMED, "name"), (RETYPED, "title")], ids=["renamed", "of another type"]
)
def test_privileges_statistics_and_storage_of_a_column_are_those_of_its_twin(
    shop: Project, operation: Operation, column: str
) -> None:
    before = shop.sql(_SETTINGS, ["title"])
    shop.migration(operation)

    shop.apply()
    shop.finalize()

    assert shop.sql(_SETTINGS, [column]) == before
    assert before[0][:4] == (500, "e", "p", ["n_distinct=-0.5"])


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE VIEW titles AS SELECT title FROM shop_book", "rule _RETURN on view titles"),
        (
            "CREATE TRIGGER on_title BEFORE UPDATE OF title ON shop_book FOR EACH ROW "
            "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "trigger on_title on table shop_book",
        ),
        ("CREATE POLICY titled ON shop_book USING (title <> '')", "policy titled on table shop_book"),
        ("CREATE STATISTICS title_and_id ON title, id FROM shop_book", "statistics object title_and_id"),
        (
            "CREATE PUBLICATION titles FOR TABLE shop_book (id, title)",
            "publication of table shop_book in publication titles",
        ),
        (
            "ALTER TABLE shop_book ALTER title SET NOT NULL, ADD CONSTRAINT one_title UNIQUE (title), "
            "REPLICA IDENTITY USING INDEX one_title",
            "replica identity index one_title",
        ),
    ],
    ids=["view", "trigger", "policy", "statistics", "publication", "replica identity"],
)
def test_what_cannot_be_given_to_a_twin_is_refused_by_name_before_anything_changes(
    shop: Project, statement: str, named: str
) -> None:
    shop.sql(statement)
    shop.migration(RETYPED)

    with pytest.raises(StepFailed) as caught:
        shop.apply()

    assert str(caught.value) == (
        f"shop_book.title cannot be given another type while these depend on it: {named}.\n"
        "Next: drop them in a migration before this one and make them again after it"
    )
    assert shop.session().journal.open_runs() == []
    assert shop.sql("SELECT name FROM django_migrations WHERE app = 'shop'") == [("0001_step",)]


def test_a_trigger_for_updates_of_a_renamed_column_fires_for_both_versions(shop: Project) -> None:
    shop.sql("ALTER TABLE shop_book ADD COLUMN changes integer NOT NULL DEFAULT 0")
    shop.sql(
        "CREATE FUNCTION count_change() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN NEW.changes := NEW.changes + 1; RETURN NEW; END'"
    )
    shop.sql("CREATE TRIGGER on_title BEFORE UPDATE OF title ON shop_book FOR EACH ROW EXECUTE FUNCTION count_change()")
    shop.sql("INSERT INTO shop_book (title) VALUES ('one')")
    shop.migration(RENAMED)
    old, new = shop.model("Book", "0001_step"), shop.model("Book")

    shop.apply()
    old.objects.update(title="by old code")
    with told(new._meta.apps):
        new.objects.update(name="by new code")
    shop.finalize()

    assert shop.sql("SELECT name, changes FROM shop_book") == [("by new code", 2)]


def test_a_renamed_column_leaves_to_the_views_and_triggers_over_it_the_name_that_they_know(shop: Project) -> None:
    shop.sql("CREATE VIEW titles AS SELECT title FROM shop_book")
    shop.sql("INSERT INTO shop_book (title) VALUES ('one')")
    shop.migration(RENAMED)

    shop.apply()
    while_open = shop.sql("SELECT title FROM titles")
    shop.finalize()

    assert while_open == shop.sql("SELECT title FROM titles") == [("one",)]
