"""segue purge: what was retired goes into the store's archive, proved, and out of the database; and comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models
from django.test import override_settings

from segue import cli, pipeline, render
from segue.core.errors import (
    ArchiveDamaged,
    FailedAndUndone,
    GateNotMet,
    ObjectsHeld,
    Postponed,
    StoreFailed,
    UsageError,
)
from segue.core.purge import Purge
from segue.core.run import State
from segue.storage.archives import Archives
from tests.operations.bookshop import assert_ends_as_stock, column_names, open_shop
from tests.project import Project

NOW = timedelta(0)
REMOVE_LANGUAGE = migrations.RemoveField("book", "language")
REMOVE_PAGES = migrations.RemoveField("book", "pages")
DELETE_BOOK = migrations.DeleteModel("Book")
ADD_ISBN = migrations.AddField("book", "isbn", models.CharField(max_length=13, null=True))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """A folder that is the project's store."""
    folder = tmp_path / "store"
    with override_settings(SEGUE={"STORE": f"file://{folder}", "LOCK_DEADLINE": "2s", "RUNNER_WAIT": "1s"}):
        yield folder


def purge(project: Project, older_than: timedelta = NOW) -> Purge:
    """segue purge --older-than …"""
    return pipeline.purge(project.session(), older_than)


def finalized(project: Project, *operations: Any) -> None:
    """Carry operations out as a release, and finalize it."""
    project.migration(*operations)
    project.apply()
    project.finalize()


def buried_columns(project: Project) -> list[str]:
    return [name for name in column_names(project, "shop_book") if name.startswith("segue_")]


def last_run_state(project: Project) -> State:
    return project.session().journal.runs()[-1].state


def manifests(store: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text())["archive"] for path in sorted(store.rglob("manifest.json"))]


# What goes


def test_a_removed_columns_values_go_to_the_store_and_the_column_goes(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE)

    result = purge(project)

    ((archive,),) = [manifests(store)]
    assert buried_columns(project) == []
    assert [(p.retired.table, p.retired.name, p.rows, p.archive) for p in result.purged] == [
        ("shop_book", "language", 1, archive["key"])
    ]
    assert archive["fingerprint"]["rows"] == 1
    assert last_run_state(project) is State.PURGED
    project.stock()
    assert project.differences() == []


def test_a_deleted_models_rows_go_to_the_store_and_the_table_goes_with_its_schema(
    project: Project, store: Path
) -> None:
    open_shop(project)
    finalized(project, DELETE_BOOK)

    result = purge(project)

    assert [(p.retired.table, p.rows) for p in result.purged] == [("shop_book", 1)]
    assert project.sql("SELECT relname FROM pg_class WHERE relname = 'shop_book'") == []
    assert project.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'segue%%'", []) == []
    assert last_run_state(project) is State.PURGED


def test_the_leftovers_of_a_release_that_was_rolled_back_go_too(project: Project, store: Path) -> None:
    open_shop(project)
    project.migration(
        ADD_ISBN,
        migrations.CreateModel("Shelf", [("id", models.BigAutoField(primary_key=True))]),
        migrations.AddIndex("book", models.Index(fields=["title"], name="book_title")),
    )
    project.apply()
    project.sql("UPDATE shop_book SET isbn = '9780141185262'")
    project.rollback()

    result = purge(project)

    assert sorted((p.retired.kind.value, p.retired.name, p.rows) for p in result.purged) == [
        ("column", "isbn", 1),
        ("index", "book_title", 0),
        ("table", "shop_shelf", 0),
    ]
    assert [d for d in project.differences() if "django_" not in d] == []
    assert last_run_state(project) is State.ROLLED_BACK


def test_a_release_counts_as_purged_only_when_nothing_of_it_is_left(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE, REMOVE_PAGES)
    (pages,) = [name for name in buried_columns(project) if name.endswith("pages")]
    project.sql(f'CREATE VIEW long_books AS SELECT id FROM shop_book WHERE "{pages}" > 100')

    purge(project)
    before = last_run_state(project)
    project.sql("DROP VIEW long_books")
    purge(project)

    assert (before, last_run_state(project)) == (State.FINALIZED, State.PURGED)


def test_a_second_purge_has_nothing_to_do(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE)
    purge(project)

    again = purge(project)

    assert (again.purged, again.held, again.postponed, again.kept) == ((), (), (), ())
    assert render.purge_lines(again) == ["Nothing to do: nothing was retired long enough ago."]


# What stays


def test_what_was_retired_a_moment_ago_stays(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE)

    result = purge(project, timedelta(days=7))

    assert result.purged == ()
    (kept,) = result.kept
    assert kept.reason.startswith("it was retired ")
    assert kept.reason.endswith(" ago, less than 7 days")
    assert len(buried_columns(project)) == 1


def test_what_an_open_release_has_retired_stays(project: Project, store: Path) -> None:
    open_shop(project)
    project.migration(REMOVE_LANGUAGE)
    run = project.apply()
    assert run is not None

    result = purge(project)

    assert [kept.reason for kept in result.kept] == [f"release {run.release} is open and may need it"]
    assert "language" in column_names(project, "shop_book")


def test_what_an_open_release_has_taken_from_an_earlier_one_stays_after_it_is_rolled_back(
    project: Project, store: Path
) -> None:
    open_shop(project)
    project.migration(REMOVE_LANGUAGE)
    first = project.apply()
    assert first is not None
    project.migration(migrations.AddField("book", "language", models.CharField(max_length=10, default="en")))
    project.apply()
    project.rollback()

    result = purge(project)

    assert [kept.reason for kept in result.kept] == [f"release {first.release} is open and may need it"]


def test_a_column_that_the_code_uses_again_is_no_leftover(project: Project, store: Path) -> None:
    open_shop(project)
    project.migration(ADD_ISBN)
    project.apply()
    project.rollback()
    with project.session().engine.connection.cursor() as cursor:
        cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('shop', '0002_step', now())")

    result = purge(project)

    assert [(kept.retired.name, kept.reason) for kept in result.kept] == [("isbn", "the project's code uses that name")]
    assert "isbn" in column_names(project, "shop_book")


def test_a_column_that_a_view_uses_is_held_by_name_and_the_others_go(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE, REMOVE_PAGES)
    (pages,) = [name for name in buried_columns(project) if name.endswith("pages")]
    project.sql(f'CREATE VIEW long_books AS SELECT id FROM shop_book WHERE "{pages}" > 100')

    result = purge(project)

    assert [(p.retired.name, p.rows) for p in result.purged] == [("language", 1)]
    assert [(kept.retired.name, kept.reason) for kept in result.held] == [("pages", "view long_books uses it")]
    with pytest.raises(ObjectsHeld) as held:
        result.require_whole()
    assert held.value.exit_status == 4
    assert str(held.value) == (
        "column shop_book.pages: something uses what was to be purged. It stays; the rest was done.\n"
        "Next: take away what uses it, as named above; then segue purge again"
    )


def test_a_column_that_another_is_computed_from_is_held(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, REMOVE_PAGES)
    (pages,) = buried_columns(project)
    project.sql(f'ALTER TABLE shop_book ADD twice integer GENERATED ALWAYS AS ("{pages}" * 2) STORED')

    result = purge(project)

    assert [kept.reason for kept in result.held] == ["column twice of table shop_book uses it"]
    assert project.sql("SELECT twice FROM shop_book") == [(20,)]


def test_a_table_that_others_use_is_held(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, DELETE_BOOK)
    ((schema,),) = project.sql("SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'shop_book'")
    project.sql(f"CREATE VIEW titles AS SELECT title FROM {schema}.shop_book")
    project.sql(f"CREATE TABLE review (book bigint REFERENCES {schema}.shop_book)")

    result = purge(project)

    assert [kept.reason for kept in result.held] == [
        "constraint review_book_fkey on table review uses it; view titles uses it"
    ]


def test_values_without_a_key_to_find_their_rows_by_are_held(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE)
    project.sql("ALTER TABLE shop_book DROP CONSTRAINT shop_book_pkey")

    result = purge(project)

    assert [kept.reason for kept in result.held] == [
        "shop_book has no primary key, by which a value could find its row again"
    ]


def test_a_leftover_whose_code_is_still_connected_is_left_for_later(project: Project, store: Path) -> None:
    open_shop(project)
    project.migration(ADD_ISBN)
    run = project.apply()
    assert run is not None
    project.rollback()
    # The code that purges knows the migration too; it is the database that has gone back.
    (project._folder / "0002_step.py").rename(project._folder / "away")

    with project.connect(f"web segue:{run.tag}") as client:
        result = purge(project)
        pid = client.info.backend_pid

    assert [(k.retired.name, k.reason) for k in result.postponed] == [
        ("isbn", f'pid {pid} "web segue:{run.tag}" runs the code that made it')
    ]
    assert "isbn" in column_names(project, "shop_book")
    with pytest.raises(Postponed) as postponed:
        result.require_whole()
    assert postponed.value.exit_status == 10


def test_a_column_whose_table_is_never_free_is_left_for_later_with_its_archive_made(
    project: Project, store: Path
) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE)

    with project.connect("reader") as reader:
        reader.execute("SELECT * FROM shop_book")
        result = purge(project)

    assert len(buried_columns(project)) == 1
    assert len(manifests(store)) == 1
    assert [k.reason.split(" was not free")[0] for k in result.postponed] == ["ACCESS EXCLUSIVE on shop_book"]


def test_an_archive_that_was_made_before_serves_the_next_purge(
    project: Project, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE)
    with project.connect("reader") as reader:
        reader.execute("SELECT * FROM shop_book")
        purge(project)
    monkeypatch.delattr(Archives, "writer")

    result = purge(project)

    assert [p.rows for p in result.purged] == [1]


def test_a_table_that_changed_after_it_was_archived_is_not_dropped(
    project: Project, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_shop(project)
    finalized(project, DELETE_BOOK)
    ((schema,),) = project.sql("SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'shop_book'")
    seal = Archives.seal

    def write_meanwhile(archives: Archives, manifest: Any) -> None:
        seal(archives, manifest)
        with project.connect() as other:
            other.execute(f"UPDATE {schema}.shop_book SET pages = 11")

    monkeypatch.setattr(Archives, "seal", write_meanwhile)
    first = purge(project)
    monkeypatch.setattr(Archives, "seal", seal)
    second = purge(project)
    project.rollback()

    assert [k.reason for k in first.postponed] == ["shop_book has changed since it was archived"]
    assert [p.rows for p in second.purged] == [1]
    assert project.sql("SELECT title, pages FROM shop_book") == [("Godaan", 11)]


def test_nothing_is_purged_while_a_release_is_interrupted(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE)
    project.migration(ADD_ISBN)
    run = project.apply()
    assert run is not None
    project.sql("DELETE FROM segue_event WHERE release = %s AND kind = 'release opened'", [run.release])

    with pytest.raises(GateNotMet) as refused:
        purge(project)

    assert refused.value.message == (
        f"Release {run.release} is applying and may need what was retired; nothing was purged."
    )
    assert len(buried_columns(project)) == 1


# The store


def test_without_a_store_nothing_is_purged(project: Project) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE)

    with pytest.raises(UsageError) as refused:
        purge(project)

    assert str(refused.value) == (
        "Purge drops nothing that it has not archived, and there is no store to archive it in: "
        'SEGUE["STORE"] is not set.\n'
        'Next: set SEGUE["STORE"] to file:///an/absolute/folder or s3://bucket/prefix'
    )
    assert len(buried_columns(project)) == 1


def test_a_store_that_cannot_be_used_stops_the_purge_before_anything_is_dropped(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE)
    (store / "archive").write_text("a file where the archives should lie")

    with pytest.raises(StoreFailed) as failed:
        purge(project)

    assert failed.value.exit_status == 8
    assert f"in file://{store} could not be read: " in failed.value.message
    assert failed.value.message.endswith("\nNothing of column shop_book.language was dropped.")
    assert len(buried_columns(project)) == 1


def test_a_store_that_does_not_keep_what_it_is_given_stops_the_purge(
    project: Project, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE)
    monkeypatch.setattr(Archives, "rows", lambda *_: iter([b"1\thi\n"]))

    with pytest.raises(ArchiveDamaged) as failed:
        purge(project)

    assert "does not read back as it was written." in failed.value.message
    assert manifests(store) == []
    assert len(buried_columns(project)) == 1


# What a dry run says


def test_a_dry_run_says_what_would_go_and_how_large_it_is(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE, REMOVE_PAGES)
    release = project.session().journal.runs()[-1]
    (pages,) = [name for name in buried_columns(project) if name.endswith("pages")]
    project.sql(f'CREATE VIEW long_books AS SELECT id FROM shop_book WHERE "{pages}" > 100')
    project.migration(ADD_ISBN)
    run = project.apply()
    assert run is not None
    project.migration(DELETE_BOOK)
    run = project.apply()
    assert run is not None

    survey = pipeline.purge_survey(project.session(), NOW)

    day = survey.due[0].since[:10]
    assert render.survey_lines(survey) == [
        "1 object would be archived and dropped:",
        f"  column shop_book.language  1 value, 3 B, whose room is free as rows are written anew; retired by release "
        f"{release.release} on {day}",
        "1 object would be held back:",
        "  column shop_book.pages: view long_books uses it",
        "1 object would stay:",
        f"  table shop_book: release {run.release} is open and may need it",
        "To archive: 3 B before compression. The database gets 0 B back at once.",
    ]
    assert len(buried_columns(project)) == 2
    assert not (store / "archive").exists()


def test_a_purge_says_what_it_did(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE)

    result = purge(project)

    (one,) = result.purged
    assert render.purge_lines(result) == [
        f"Purged 1 object; archived {one.archive_bytes} B in file://{store}, freed 0 B:",
        f"  column shop_book.language  1 in {one.archive_bytes} B: {one.archive}",
    ]


# The way back


def test_rolling_back_after_the_purge_gives_every_value_back(project: Project, store: Path) -> None:
    open_shop(project)
    old_book = project.model("Book")
    old_book.objects.create(title="Nirmala", author_id=1, pages=3, language="a\\b\tc\nd'é")
    finalized(project, REMOVE_LANGUAGE, REMOVE_PAGES)
    purge(project)

    project.rollback()

    assert [*old_book.objects.order_by("id").values_list("title", "pages", "language")] == [
        ("Godaan", 10, "en"),
        ("Nirmala", 3, "a\\b\tc\nd'é"),
    ]
    project.finalize()
    assert project.differences() == []
    assert project.session().journal.cemetery().archived() == ()


def test_rows_written_since_the_purge_are_as_if_the_column_had_only_been_retired(project: Project, store: Path) -> None:
    open_shop(project)
    old_book = project.model("Book")
    old_book.objects.create(title="Nirmala", author_id=1, pages=3, language="hi")
    finalized(project, REMOVE_LANGUAGE)
    purge(project)
    new_book = project.model("Book")
    new_book.objects.create(title="Rangbhoomi", author_id=1, pages=4)
    new_book.objects.filter(title="Godaan").delete()

    project.rollback()

    assert [*old_book.objects.order_by("id").values_list("title", "language")] == [
        ("Nirmala", "hi"),
        ("Rangbhoomi", "en"),
    ]
    (archive,) = manifests(store)
    assert f"1 of 2 archived values belong to rows of shop_book that are gone; {archive['key']} keeps them" in (
        project.said
    )


def test_rolling_back_after_the_purge_brings_a_table_back_whole(project: Project, store: Path) -> None:
    open_shop(project)
    old_book = project.model("Book")
    old_book.objects.create(title="Nirmala", author_id=1, pages=3, language="hi")
    finalized(project, DELETE_BOOK)
    purge(project)

    project.rollback()

    assert [*old_book.objects.order_by("id").values_list("title", "pages", "language")] == [
        ("Godaan", 10, "en"),
        ("Nirmala", 3, "hi"),
    ]
    assert old_book.objects.create(title="Rangbhoomi", author_id=1, pages=4).pk == 3
    project.finalize()
    assert project.differences() == []


def test_the_orphans_of_a_table_that_comes_back_go_to_quarantine(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, DELETE_BOOK)
    purge(project)
    project.model("Author").objects.all().delete()

    project.rollback()

    assert project.sql("SELECT * FROM shop_book") == []
    assert project.sql("SELECT kind, object, row ->> 'title' FROM segue_quarantine") == [
        ("orphan", "author_id", "Godaan")
    ]


def test_a_table_comes_back_with_all_that_was_its_own(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, DELETE_BOOK)
    ((schema,),) = project.sql("SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'shop_book'")
    table = f"{schema}.shop_book"
    for statement in (
        f"ALTER TABLE {table} ADD CONSTRAINT thick CHECK (pages > 1), ADD CONSTRAINT once UNIQUE (title)",
        f"ALTER TABLE {table} ADD twice integer GENERATED ALWAYS AS (pages * 2) STORED, SET (fillfactor = 70)",
        f"CREATE INDEX by_language ON {table} (lower(language)) WHERE pages > 5",
        f"COMMENT ON TABLE {table} IS 'what we sell'",
        f"COMMENT ON COLUMN {table}.pages IS 'with the cover''s'",
        f"CREATE SEQUENCE {schema}.shelf_seq AS integer INCREMENT BY 10 OWNED BY {table}.pages",
        f"ALTER TABLE {table} ALTER pages SET DEFAULT nextval('{schema}.shelf_seq')",
        f"SELECT nextval('{schema}.shelf_seq')",
        f"CREATE STATISTICS {schema}.pairs ON title, language FROM {table}",
        "CREATE ROLE reader_of_books",
        f"GRANT SELECT ON {table} TO reader_of_books",
        f"GRANT UPDATE (title) ON {table} TO reader_of_books WITH GRANT OPTION",
    ):
        project.sql(statement)
    described = _description(project, schema)
    purge(project)

    project.rollback()

    assert _description(project, "public") == described
    assert project.sql("SELECT title, pages, twice FROM shop_book") == [("Godaan", 10, 20)]
    assert project.sql("SELECT nextval('shelf_seq'), nextval('shop_book_id_seq')") == [(11, 2)]
    project.sql("DROP OWNED BY reader_of_books")
    project.sql("DROP ROLE reader_of_books")


def _description(project: Project, schema: str) -> list[Any]:
    """Return what the catalog says of a book table, foreign keys left out, without the name of its schema."""
    questions = (
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = {t} AND contype <> 'f' ORDER BY 1",
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = {t} ORDER BY 1",
        "SELECT a.attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attacl::text, "
        "pg_get_expr(adbin, adrelid), col_description(attrelid, attnum) FROM pg_attribute a LEFT JOIN pg_attrdef ON "
        "adrelid = attrelid AND adnum = attnum WHERE attrelid = {t} AND attnum > 0 AND NOT attisdropped ORDER BY 1",
        "SELECT reloptions::text, relacl::text, relowner, obj_description(oid, 'pg_class') FROM pg_class "
        "WHERE oid = {t}",
        "SELECT seqtypid::regtype::text, seqincrement FROM pg_sequence JOIN pg_depend ON objid = seqrelid "
        "WHERE refobjid = {t} ORDER BY 2",
        "SELECT stxname, stxkeys::text FROM pg_statistic_ext WHERE stxrelid = {t}",
    )
    table = f"'{schema}.shop_book'::regclass".replace("'\"", "'\"")
    found = [project.sql(question.format(t=table)) for question in questions]
    return json.loads(json.dumps(found, default=str).replace(f"{json.dumps(schema)[1:-1]}.", "").replace("public.", ""))


AWKWARD = [
    (models.TextField(null=True), "'a\\b\tc\n\r\x0b\x08' || chr(127) || 'é\U0001f3b5'"),
    (models.TextField(null=True), r"'\N'"),
    (models.TextField(null=True), "''"),
    (models.CharField(max_length=20, null=True), "'  blanks  '"),
    (models.BooleanField(null=True), "true"),
    (models.FloatField(null=True), "'NaN'"),
    (models.FloatField(null=True), "0.1::float8 + 0.2::float8"),
    (models.DecimalField(max_digits=20, decimal_places=10, null=True), "1234567890.0123456789"),
    (models.DateTimeField(null=True), "'2024-02-29 23:59:59.999999+05:30'"),
    (models.DateField(null=True), "'0044-03-15 BC'"),
    (models.DurationField(null=True), "'-1 mon 3 days 00:00:01.5'"),
    (models.BinaryField(null=True), r"'\x00ff5c0a09'"),
    (models.UUIDField(null=True), "'0b9c6a2e-7d3f-4b45-9c55-6f4f7f3f8b11'"),
    (models.JSONField(null=True), "'null'"),
    (models.JSONField(null=True), """'{"a": "\\u00e9\\n", "b": [1.10, null]}'"""),
    (models.GenericIPAddressField(null=True), "'10.0.0.1'"),
    (ArrayField(models.TextField(), null=True), """ARRAY['a,b', NULL, '"', '{}', '']"""),
    (ArrayField(models.IntegerField(), null=True), "'[0:1]={1,2}'"),
]


def test_values_of_every_kind_come_back_as_they_were(project: Project, store: Path) -> None:
    open_shop(project)
    project.migration(*(migrations.AddField("book", f"f{n}", field) for n, (field, _) in enumerate(AWKWARD)))
    project.apply()
    project.finalize()
    project.sql("UPDATE shop_book SET " + ", ".join(f"f{n} = {sql}" for n, (_, sql) in enumerate(AWKWARD)), None)
    project.sql("INSERT INTO shop_book (title, author_id, pages, language) VALUES ('empty', 1, 1, 'en')")
    shown = "SELECT " + ", ".join(f"f{n}::text" for n in range(len(AWKWARD))) + " FROM shop_book ORDER BY id"
    before = project.sql(shown)
    finalized(project, *(migrations.RemoveField("book", f"f{n}") for n in range(len(AWKWARD))))

    result = purge(project)
    project.rollback()

    assert len(result.purged) == len(AWKWARD)
    assert project.sql(shown) == before
    finalized(project, DELETE_BOOK)
    purge(project)
    project.rollback()
    assert project.sql(shown) == before


def test_a_rolled_back_column_comes_back_from_its_archive_when_its_migration_is_applied_again(
    project: Project, store: Path
) -> None:
    open_shop(project)
    project.migration(ADD_ISBN)
    project.apply()
    project.sql("UPDATE shop_book SET isbn = '9780141185262'")
    project.rollback()
    purge(project)
    assert "isbn" not in column_names(project, "shop_book")

    project.apply()

    assert project.sql("SELECT isbn FROM shop_book") == [("9780141185262",)]
    assert_ends_as_stock(project)


def test_a_rolled_back_table_comes_back_from_its_archive_when_its_migration_is_applied_again(
    project: Project, store: Path
) -> None:
    open_shop(project)
    project.migration(
        migrations.CreateModel(
            "Shelf",
            [("id", models.BigAutoField(primary_key=True)), ("books", models.ManyToManyField("shop.Book"))],
        )
    )
    project.apply()
    shelf = project.model("Shelf")
    shelf.objects.create().books.add(1)
    project.rollback()
    purge(project)

    project.apply()

    assert [*shelf.objects.values_list("pk", "books")] == [(1, 1)]
    assert_ends_as_stock(project)


def test_what_came_back_from_an_archive_is_taken_back_and_brought_back_again(project: Project, store: Path) -> None:
    open_shop(project)
    project.migration(ADD_ISBN)
    project.apply()
    project.sql("UPDATE shop_book SET isbn = '9780141185262'")
    project.rollback()
    purge(project)
    project.apply()
    project.sql("UPDATE shop_book SET isbn = 'written since'")

    project.rollback()
    project.apply()

    assert project.sql("SELECT isbn FROM shop_book") == [("written since",)]
    assert_ends_as_stock(project)


def test_what_came_back_can_be_purged_again_with_what_was_written_since(project: Project, store: Path) -> None:
    open_shop(project)
    project.migration(ADD_ISBN)
    project.apply()
    project.sql("UPDATE shop_book SET isbn = 'first'")
    project.rollback()
    purge(project)
    project.apply()
    project.sql("UPDATE shop_book SET isbn = 'second'")
    project.rollback()
    purge(project)

    project.apply()

    assert project.sql("SELECT isbn FROM shop_book") == [("second",)]
    assert len(manifests(store)) == 2


def test_a_migration_that_fails_after_the_load_leaves_no_half_of_it(project: Project, store: Path) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE)
    purge(project)
    name = project.migration(
        migrations.AddField("book", "language", models.CharField(max_length=10, default="en")),
        migrations.RunSQL("SELECT 1 / 0"),
    )
    columns = column_names(project, "shop_book")

    with pytest.raises(FailedAndUndone):
        project.apply()

    left = project.sql("SELECT relname FROM pg_class WHERE relname LIKE 'segue_archive%%'", [])
    assert left == []
    assert [c for c in column_names(project, "shop_book") if c not in (*columns, "language")] == []
    project._names.remove(name)
    project.write(name, (project._folder / f"{name}.py").read_text().replace("1 / 0", "1 / 1"))
    import sys

    for module in [m for m in sys.modules if m.endswith(name)]:
        del sys.modules[module]
    project.apply()
    assert project.sql("SELECT language FROM shop_book") == [("en",)]


def test_a_column_of_a_table_that_is_another_one_now_keeps_its_values_in_the_archive(
    project: Project, store: Path
) -> None:
    open_shop(project)
    finalized(project, ADD_ISBN)
    project.sql("UPDATE shop_book SET isbn = '9780141185262'")
    finalized(project, migrations.RemoveField("book", "isbn"))
    purge(project)
    finalized(project, DELETE_BOOK)
    finalized(
        project,
        migrations.CreateModel(
            "Book", [("id", models.BigAutoField(primary_key=True)), ("title", models.CharField(max_length=99))]
        ),
    )
    project.sql("INSERT INTO shop_book (title) VALUES ('another book')")

    finalized(project, ADD_ISBN)

    assert project.sql("SELECT isbn FROM shop_book") == [(None,)]
    assert [r.name for r in project.session().journal.cemetery().archived()] == ["isbn"]


def test_a_retired_column_of_a_purged_table_comes_back_with_it(project: Project, store: Path) -> None:
    open_shop(project)
    first_book = project.model("Book")
    finalized(project, REMOVE_LANGUAGE)
    finalized(project, DELETE_BOOK)
    result = purge(project)

    project.rollback()
    project.finalize()
    project.rollback()

    assert [(p.retired.kind.value, p.retired.name) for p in result.purged] == [("table", "shop_book")]
    assert [*first_book.objects.values_list("title", "language")] == [("Godaan", "en")]


# The command


def test_the_command_purges_and_says_so_as_json(
    project: Project, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE)

    statuses = [cli.main(["purge", "--dry-run"]), cli.main(["purge", "--older-than", "0s", "--format", "json"])]

    dry, result = capsys.readouterr().out.strip().rsplit("\n", 1)
    assert statuses == [0, 0]
    assert dry.splitlines()[0] == "0 objects would be archived and dropped."
    purged = json.loads(result)
    assert [(p["retired"]["name"], p["rows"]) for p in purged["purged"]] == [("language", 1)]
    assert (purged["held"], purged["postponed"], purged["store"]) == ([], [], f"file://{store}")
    assert [step["title"].split(",")[0] for step in purged["steps"]] == ["drop column shop_book.language"]


def test_the_command_says_by_its_status_that_something_is_held(
    project: Project, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_shop(project)
    finalized(project, REMOVE_PAGES)
    (pages,) = buried_columns(project)
    project.sql(f'CREATE VIEW long_books AS SELECT id FROM shop_book WHERE "{pages}" > 100')

    status = cli.main(["purge", "--older-than", "0s", "--no-input"])

    printed = capsys.readouterr()
    assert status == 4
    assert printed.out.splitlines() == ["1 object held back:", "  column shop_book.pages: view long_books uses it"]
    assert printed.err.splitlines()[-2:] == [
        "segue purge: column shop_book.pages: something uses what was to be purged. It stays; the rest was done.",
        "Next: take away what uses it, as named above; then segue purge again",
    ]


def test_an_age_that_is_none_is_an_error_of_usage(
    project: Project, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_shop(project)

    status = cli.main(["purge", "--older-than", "a week"])

    assert status == 2
    assert capsys.readouterr().err.startswith("segue purge: --older-than is 'a week', which is no duration.")


def test_the_status_lists_what_lies_in_the_store(project: Project, store: Path) -> None:
    key = purged_language(project, store)

    lines = render.status_lines(pipeline.status(project.session()))

    assert lines[-2:] == [
        "Purged, with its values in the store: 1 object:",
        f"  column shop_book.language: {key}",
    ]


# Archives that cannot be used


def purged_language(project: Project, store: Path) -> str:
    """Purge the books' language; return the key of its archive."""
    open_shop(project)
    finalized(project, REMOVE_LANGUAGE)
    return purge(project).purged[0].archive


def test_a_changed_archive_is_found_before_anything_has_begun(project: Project, store: Path) -> None:
    key = purged_language(project, store)
    (part,) = store.rglob("*.copy.zst")
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    releases = len(project.session().journal.runs())

    with pytest.raises(ArchiveDamaged) as damaged:
        project.rollback()

    assert damaged.value.exit_status == 8
    assert str(damaged.value) == (
        f"The archive {key} in file://{store} cannot be used: 000001.copy.zst was changed. Nothing was loaded from "
        "it.\n"
        f"Next: put it back from a copy of the store, then the same command again; or segue purge --forget {key}, "
        "which gives its values up"
    )
    assert len(project.session().journal.runs()) == releases
    assert "language" not in column_names(project, "shop_book")


def test_an_archive_without_one_of_its_parts_is_not_used(project: Project, store: Path) -> None:
    key = purged_language(project, store)
    (part,) = store.rglob("*.copy.zst")
    part.unlink()

    with pytest.raises(ArchiveDamaged) as damaged:
        project.rollback()

    assert damaged.value.message == (
        f"The archive {key} in file://{store} cannot be used: 000001.copy.zst is missing. Nothing was loaded from it."
    )


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_an_archive_whose_manifest_is_gone_or_changed_is_not_used(project: Project, store: Path, change: str) -> None:
    key = purged_language(project, store)
    (manifest,) = store.rglob("manifest.json")
    if change == "gone":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text().replace("character varying", "character varyinh"))

    with pytest.raises(ArchiveDamaged) as damaged:
        project.rollback()

    what = {"gone": "it has no manifest there", "changed": "its manifest was changed"}[change]
    assert damaged.value.message == (
        f"The archive {key} in file://{store} cannot be used: {what}. Nothing was loaded from it."
    )


def test_without_the_store_that_it_lies_in_an_archive_is_named(project: Project, store: Path) -> None:
    key = purged_language(project, store)

    with override_settings(SEGUE={}), pytest.raises(UsageError) as refused:
        project.rollback()

    assert refused.value.message == (
        f'The values of shop_book.language were purged and lie in {key}, but SEGUE["STORE"] is not set.'
    )


def test_an_archive_that_breaks_while_it_is_loaded_undoes_the_migration(
    project: Project, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = purged_language(project, store)
    rows, calls = Archives.rows, []

    def break_the_second_time(archives: Archives, manifest: Any) -> Iterator[bytes]:
        calls.append(manifest.key)
        if len(calls) == 2:
            next(store.rglob("*.copy.zst")).unlink()
        yield from rows(archives, manifest)

    monkeypatch.setattr(Archives, "rows", break_the_second_time)
    with pytest.raises(FailedAndUndone) as failed:
        project.rollback()

    assert key in failed.value.message
    assert buried_columns(project) == []
    assert project.sql("SELECT relname FROM pg_class WHERE relname LIKE 'segue_archive%%'", []) == []
    assert [r.archive for r in project.session().journal.cemetery().archived()] == [key]


def test_a_forgotten_archive_lets_the_column_be_made_anew(project: Project, store: Path) -> None:
    key = purged_language(project, store)
    (part,) = store.rglob("*.copy.zst")
    part.unlink()

    pipeline.forget_archive(project.session(), key)
    project.rollback()

    assert project.sql("SELECT title, language FROM shop_book") == [("Godaan", "en")]


def test_only_an_archive_that_there_is_can_be_forgotten(project: Project, store: Path) -> None:
    key = purged_language(project, store)

    with pytest.raises(UsageError) as refused:
        pipeline.forget_archive(project.session(), "archive/none")

    assert refused.value.message == f"There is no archive archive/none. There are: {key}."


def test_an_index_of_a_table_that_came_back_under_another_name_stays(project: Project, store: Path) -> None:
    open_shop(project)
    project.migration(
        migrations.CreateModel(
            "Loan",
            [("id", models.BigAutoField(primary_key=True)), ("note", models.CharField(max_length=9, db_index=True))],
        ),
        migrations.AlterModelTable("Loan", "lent"),
    )
    project.apply()
    project.rollback()
    project.apply()
    assert_ends_as_stock(project)

    purge(project)

    assert project.differences() == []
