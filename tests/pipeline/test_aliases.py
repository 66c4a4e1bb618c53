"""New code through aliases: real models in processes of their own, on tables that have other names for them."""

from __future__ import annotations

import asyncio
import importlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import ProgrammingError, connection, migrations, models, transaction
from django.db.models import Count, F, Q, Sum
from django.db.models.signals import post_migrate
from django.test import SimpleTestCase
from django.test.utils import CaptureQueriesContext, override_settings

from segue.core.change import Alias
from segue.engines.postgresql.acts import alias as statements
from tests.pipeline import versions
from tests.project import Project

_ID = ("id", models.BigAutoField(primary_key=True))
AUTHOR = migrations.CreateModel("Author", [_ID, ("name", models.CharField(max_length=50))])
BOOK = migrations.CreateModel(
    "Book",
    [
        _ID,
        ("title", models.CharField(max_length=50, unique=True)),
        ("writer", models.ForeignKey("shop.author", models.CASCADE, related_name="books")),
        ("sequel", models.ForeignKey("shop.book", models.SET_NULL, null=True)),
        ("price", models.TextField(default="0")),
    ],
)
TITLE = Alias(table="shop_book", column="name", place="title")
WRITER = Alias(table="shop_book", column="author_id", place="writer_id")
PRICE = Alias(table="shop_book", column="price", place="segue_twin_price")


def new_models() -> Any:
    """Define the models that new code has: title is called name, writer author, and price is a number."""

    class Author(models.Model):
        name = models.CharField(max_length=50)

        class Meta:
            app_label = "shop"

    class Book(models.Model):
        name = models.CharField(max_length=50, unique=True)
        author = models.ForeignKey(Author, models.CASCADE, related_name="books")
        sequel = models.ForeignKey("self", models.SET_NULL, null=True)
        price = models.IntegerField(default=0)

        class Meta:
            app_label = "shop"

    return Book


@pytest.fixture
def shop(project: Project) -> Project:
    """A table in use, and the migration of new code on disk."""
    project.live(project.migration(AUTHOR, BOOK))
    project.migration(
        migrations.RenameField("book", "title", "name"),
        migrations.RenameField("book", "writer", "author"),
        migrations.AlterField("book", "price", models.IntegerField(default=0)),
    )
    project.sql("INSERT INTO shop_author (name) VALUES ('Premchand'), ('Manto')")
    project.sql("ALTER TABLE shop_book ALTER COLUMN price SET DEFAULT '0'")
    project.sql("ALTER TABLE shop_book ADD COLUMN segue_twin_price integer NOT NULL DEFAULT 0")
    project.sql("INSERT INTO shop_book (title, writer_id) VALUES ('Godaan', 1), ('Nirmala', 1), ('Toba Tek Singh', 2)")
    open_(project, TITLE, WRITER, PRICE)
    return project


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def open_(project: Project, *aliases: Alias, backwards: bool = False) -> None:
    for alias in aliases:
        project.sql(
            statements.opened(
                alias, release="r", app="shop", migration="0002_step", literal=literal, backwards=backwards
            )
        )


FINALIZED = (
    "ALTER TABLE shop_book RENAME COLUMN title TO name",
    "ALTER TABLE shop_book RENAME COLUMN writer_id TO author_id",
    "ALTER TABLE shop_book RENAME COLUMN price TO segue_retired_price",
    "ALTER TABLE shop_book RENAME COLUMN segue_twin_price TO price",
    *(statements.closed(alias, literal=literal) for alias in (TITLE, WRITER, PRICE)),
)


OPENED_AGAIN = (
    "ALTER TABLE shop_book RENAME COLUMN name TO title",
    "ALTER TABLE shop_book RENAME COLUMN author_id TO writer_id",
    "ALTER TABLE shop_book RENAME COLUMN price TO segue_twin_price",
    "ALTER TABLE shop_book RENAME COLUMN segue_retired_price TO price",
)


def finalize(project: Project, *given: str) -> None:
    """Give everything, or what is given, its own name in one transaction, as finalize does."""
    with project.connect("finalize") as session:
        for statement in given or FINALIZED:
            session.execute(statement)


# Each kind of statement that new code says


def inserts(book: Any) -> None:
    book.objects.create(name="Kafan", author_id=1, price=3)


def inserts_many(book: Any) -> None:
    book.objects.bulk_create([book(name=f"b{n}", author_id=2, price=n) for n in range(3)])


def upserts(book: Any) -> None:
    book.objects.bulk_create(
        [book(name="Godaan", author_id=2, price=8)],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["price", "author"],
    )


def updates(book: Any) -> None:
    book.objects.filter(name="Godaan", price__lt=5).update(price=F("price") + 7, name="Gaban", author=2)


def updates_many(book: Any) -> None:
    found = list(book.objects.order_by("name"))
    for number, one in enumerate(found):
        one.price = number
    book.objects.bulk_update(found, ["price", "name"])


def saves(book: Any) -> None:
    one = book.objects.get(name="Nirmala")
    one.price = 9
    one.save()


def deletes(book: Any) -> None:
    book.objects.filter(author__name="Premchand", price=0, name__startswith="G").delete()


def executes_many(book: Any) -> None:
    with connection.cursor() as cursor:
        name, author = (book._meta.get_field(field).column for field in ("name", "author"))
        sql = f'INSERT INTO shop_book ("{name}", "{author}") VALUES (%s, %s)'
        cursor.executemany(sql, ((f"many {n}", 1) for n in range(3)))


def locks(book: Any) -> None:
    with transaction.atomic():
        one = book.objects.select_for_update().filter(name="Godaan").get()
        book.objects.filter(pk=one.pk).update(price=F("price") + 1)


WRITES = [inserts, inserts_many, upserts, updates, updates_many, saves, deletes, executes_many, locks]


def reads(book: Any) -> list[Any]:
    """Read in every way that names a column."""
    by_author = book.objects.values("author__name").annotate(n=Count("pk"), total=Sum("price"))
    return [
        [(one.name, one.author_id, one.price) for one in book.objects.order_by("name")],
        [one.name for one in book.objects.iterator(chunk_size=2)],
        list(book.objects.filter(Q(sequel__name="x") | Q(price=0)).values_list("name", flat=True).order_by("-name")),
        list(by_author.order_by("author__name").values_list("author__name", "n", "total")),
        list(book.objects.filter(author__in=book.objects.filter(name="Godaan").values("author")).values_list("price")),
        [(one.name, one.author_id) for one in book.objects.raw("SELECT * FROM shop_book ORDER BY id")],
        book.objects.only("price").get(name="Godaan").name,
        book.objects.aggregate(n=Count("name", distinct=True))["n"],
        list(book.objects.filter(name="Godaan").union(book.objects.filter(price=99)).values_list("name", flat=True)),
        [[b.name for b in one.books.order_by("name")] for one in book.author.get_queryset().prefetch_related("books")],
    ]


READ: list[Any] = [
    [("Godaan", 1, 0), ("Nirmala", 1, 0), ("Toba Tek Singh", 2, 0)],
    ["Godaan", "Nirmala", "Toba Tek Singh"],
    ["Toba Tek Singh", "Nirmala", "Godaan"],
    [("Manto", 1, 0), ("Premchand", 2, 0)],
    [(0,), (0,)],
    [("Godaan", 1), ("Nirmala", 1), ("Toba Tek Singh", 2)],
    "Godaan",
    3,
    ["Godaan"],
    [["Godaan", "Nirmala"], ["Toba Tek Singh"]],
]


def test_new_code_reads_by_its_own_names_before_and_after_finalize(shop: Project) -> None:
    before = versions.run(lambda: reads(new_models()))
    finalize(shop)
    after = versions.run(lambda: reads(new_models()))

    assert before == READ
    assert after == READ


def test_a_write_of_new_code_has_the_same_effect_before_and_after_finalize(shop: Project) -> None:
    before = versions.run(lambda: effects(new_models()))
    finalize(shop)
    after = versions.run(lambda: effects(new_models()))

    assert before == after
    assert len(set(map(tuple, before))) == len(WRITES)


def effects(book: Any) -> list[list[tuple[str, str, int]]]:
    """Return what each write leads to from the same beginning."""
    found = []
    for write in WRITES:
        with transaction.atomic():
            write(book)
            found.append(list(book.objects.order_by("pk").values_list("name", "author__name", "price")))
            transaction.set_rollback(True)
    return found


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_write_that_meets_finalize_is_said_again(shop: Project, in_transaction: bool) -> None:
    rows = shop.sql("SELECT id, title, writer_id, segue_twin_price FROM shop_book ORDER BY id")

    def meets_finalize(book: Any, write: Callable[[Any], None]) -> None:
        if not in_transaction:
            finalize(shop)
            write(book)
            return
        with transaction.atomic():
            book.author.get_queryset().create(name="before finalize")
            finalize(shop)
            write(book)

    def body() -> Any:
        book = new_models()
        expected = effects(book)
        found = []
        for write in WRITES:
            meets_finalize(book, write)
            found.append(list(book.objects.order_by("pk").values_list("name", "author__name", "price")))
            begin_again(shop, rows)
            connection.close()
        return expected, [[(name, author, price) for name, author, price in one] for one in found]

    expected, found = versions.run(body)

    assert found == expected
    assert shop.sql("SELECT count(*) FROM shop_author WHERE name = 'before finalize'") == [
        (len(WRITES) if in_transaction else 0,)
    ]


def begin_again(project: Project, rows: list[Any]) -> None:
    """Open the aliases again on the rows of the beginning."""
    project.sql("TRUNCATE shop_book")
    for statement in OPENED_AGAIN:
        project.sql(statement)
    for row in rows:
        project.sql("INSERT INTO shop_book (id, title, writer_id, segue_twin_price) VALUES (%s, %s, %s, %s)", row)
    open_(project, TITLE, WRITER, PRICE)


def test_a_read_that_meets_finalize_is_said_again_in_every_form(shop: Project) -> None:
    def body() -> Any:
        book = new_models()
        list(book.objects.all())
        finalize(shop)
        names = [one.name for one in book.objects.order_by("pk").iterator(chunk_size=1)]
        return [names, reads(book)]

    names, read = versions.run(body)

    assert names == ["Godaan", "Nirmala", "Toba Tek Singh"]
    assert read == READ


def test_asynchronous_queries_that_meet_finalize_are_said_again(shop: Project) -> None:
    async def read(book: Any) -> list[str]:
        before = [one.name async for one in book.objects.order_by("pk")]
        await asyncio.to_thread(finalize, shop)
        await book.objects.filter(name="Godaan").aupdate(price=4)
        return [*before, str((await book.objects.aget(name="Godaan")).price)]

    assert versions.run(lambda: asyncio.run(read(new_models()))) == ["Godaan", "Nirmala", "Toba Tek Singh", "4"]


def test_a_server_side_cursor_in_a_transaction_that_meets_finalize_reads_on(shop: Project) -> None:
    def body() -> Any:
        book = new_models()
        list(book.objects.all())
        with transaction.atomic():
            author = book.author.get_queryset().create(name="first")
            finalize(shop)
            names = [one.name for one in book.objects.order_by("pk").iterator(chunk_size=1)]
            book.objects.create(name="last", author=author)
        return names

    assert versions.run(body) == ["Godaan", "Nirmala", "Toba Tek Singh"]
    assert shop.sql("SELECT name, author_id FROM shop_book ORDER BY id DESC LIMIT 1") == [("last", 3)]


def test_a_transaction_that_keeps_its_snapshot_goes_on_after_finalize(shop: Project) -> None:
    def body() -> Any:
        book = new_models()
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            book.author.get_queryset().count()
            finalize(shop)
            before = book.objects.filter(name="Godaan").count()
            book.objects.filter(pk=1).update(price=1)
            with transaction.atomic():
                book.objects.filter(name="Nirmala").update(price=2)
        return before

    assert versions.run(body) == 1
    assert shop.sql("SELECT name, price FROM shop_book ORDER BY id") == [
        ("Godaan", 1),
        ("Nirmala", 2),
        ("Toba Tek Singh", 0),
    ]


def test_a_lock_that_a_savepoint_gave_back_does_not_count(shop: Project) -> None:
    def body() -> Any:
        book = new_models()
        with transaction.atomic():
            try:
                with transaction.atomic():
                    book.objects.create(name="taken back", author_id=1)
                    raise LookupError
            except LookupError:
                pass
            finalize(shop)
            book.objects.create(name="kept", author_id=1)

    versions.run(body)

    assert shop.sql("SELECT name FROM shop_book WHERE id > 3") == [("kept",)]


def test_rows_that_are_written_one_by_one_are_written_once_although_finalize_comes_between(shop: Project) -> None:
    shop.sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF to_jsonb(NEW)::text LIKE '%%many 1%%' THEN PERFORM pg_advisory_xact_lock(1); END IF; "
        "RETURN NEW; END $$"
    )
    shop.sql("CREATE TRIGGER wait BEFORE INSERT ON shop_book FOR EACH ROW EXECUTE FUNCTION wait()")

    def body() -> None:
        book = new_models()
        with shop.connect("holder") as holder:
            holder.execute("SELECT pg_advisory_lock(1)")
            writer = Thread(target=lambda: (executes_many(book), connection.close()))
            writer.start()
            wait_for(holder, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            finalizer = Thread(target=finalize, args=[shop])
            finalizer.start()
            wait_for(holder, "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted")
            holder.execute("SELECT pg_advisory_unlock(1)")
            writer.join()
            finalizer.join()

    versions.run(body)

    assert shop.sql("SELECT name FROM shop_book WHERE id > 3 ORDER BY id") == [("many 0",), ("many 1",), ("many 2",)]


def wait_for(session: psycopg.Connection[Any], question: str) -> None:
    """Wait until a question has an answer."""
    while not session.execute(question).fetchall():
        time.sleep(0.01)


def test_the_first_statement_of_a_process_may_be_an_update(shop: Project) -> None:
    versions.run(lambda: new_models().objects.filter(pk=1).update(name="Gaban", price=F("price") + 2, author=2))

    assert shop.sql("SELECT title, segue_twin_price, writer_id, price FROM shop_book WHERE id = 1") == [
        ("Gaban", 2, 2, "0")
    ]


def test_the_first_statement_may_be_said_inside_another_wrapper(shop: Project) -> None:
    def body() -> Any:
        book = new_models()
        heard = []

        def listen(execute: Any, sql: str, *arguments: Any) -> Any:
            heard.extend([sql] * ("shop_book" in sql))
            return execute(sql, *arguments)

        with connection.execute_wrapper(listen):
            book.objects.get(name="Godaan")
        book.objects.get(name="Godaan")
        return heard

    [statement] = versions.run(body)

    assert '"shop_book"."title"' in statement


def test_a_raw_query_fills_the_columns_that_it_returns(shop: Project) -> None:
    def body() -> Any:
        query = new_models().objects.raw("SELECT id, title, writer_id, segue_twin_price FROM shop_book ORDER BY id")
        with CaptureQueriesContext(connection) as captured:
            found = [(one.name, one.author_id, one.price) for one in query]
        return found, len(captured)

    assert versions.run(body) == (READ[0], 1)


def test_names_of_one_table_that_finalize_gives_one_after_the_other_are_told_apart(shop: Project) -> None:
    def body() -> Any:
        book = new_models()
        shop.sql(FINALIZED[0])
        shop.sql(FINALIZED[4])
        list(book.objects.filter(name="Godaan"))
        finalize(shop, *FINALIZED[1:4], *FINALIZED[5:])
        with transaction.atomic():
            author = book.author.get_queryset().create(name="kept")
            found = book.objects.filter(name="Godaan").values("name").get()
            book.objects.filter(name="Godaan").update(price=5, author=author)
        return found

    assert versions.run(body) == {"name": "Godaan"}
    assert shop.sql("SELECT name, author_id, price FROM shop_book WHERE id = 1") == [("Godaan", 3, 5)]


def test_a_wrong_statement_of_new_code_fails_with_its_own_error(shop: Project) -> None:
    def body() -> Any:
        book = new_models()
        with pytest.raises(ProgrammingError) as alone:
            list(book.objects.extra(where=["nonsense = 1"]))
        with pytest.raises(ProgrammingError) as inside, transaction.atomic():
            list(book.objects.extra(where=["nonsense = 1"]))
        return [str(error.value).splitlines()[0] for error in (alone, inside)]

    assert versions.run(body) == ['column "nonsense" does not exist'] * 2


def test_traffic_of_new_code_does_not_notice_finalize(shop: Project) -> None:
    def prepare() -> list[Callable[[], None]]:
        book = new_models()

        def transfers() -> None:
            with transaction.atomic():
                first, last = book.objects.select_for_update().filter(pk__in=[1, 2]).order_by("pk")
                book.objects.filter(pk=first.pk).update(price=F("price") - 1)
                book.objects.filter(pk=last.pk).update(price=F("price") + 1)

        def comes_late() -> None:
            with transaction.atomic():
                author = book.author.get_queryset().create(name="late")
                book.objects.create(name=f"late {author.pk}", author=author, price=1)

        def meets_many() -> None:
            with connection.cursor() as cursor:
                name = book._meta.get_field("name").column
                cursor.executemany(f'UPDATE shop_book SET "{name}" = %s WHERE id = %s', [("a", 1), ("a", 1), ("b", 1)])

        def reconnects() -> None:
            assert book.objects.filter(name="Toba Tek Singh", author__name="Manto").count() == 1
            connection.close()

        def streams() -> None:
            assert sum(1 for one in book.objects.filter(pk__lt=4).iterator(chunk_size=2) if one.name) == 3

        return [transfers, comes_late, meets_many, reconnects, streams]

    with versions.traffic(prepare, processes=2, threads=2) as traffic:
        traffic.wait_for(200)
        finalize(shop)
        traffic.wait_for(200)
        failures = traffic.end()

    assert failures == []
    assert shop.sql("SELECT sum(price) FROM shop_book WHERE id <= 3") == [(0,)]
    assert shop.sql("SELECT count(*) FROM shop_book WHERE price = 1 AND id > 3") == shop.sql(
        "SELECT count(*) FROM shop_author WHERE name = 'late'"
    )


# Whom an alias is for


def old_models() -> Any:
    """Define the model that old code has."""

    class Book(models.Model):
        title = models.CharField(max_length=50, unique=True)
        price = models.TextField(default="0")

        class Meta:
            app_label = "shop"

    return Book


def test_code_without_the_migration_does_not_see_the_alias(shop: Project, tmp_path: Path) -> None:
    without = only_first_migration(shop, tmp_path)

    def body() -> Any:
        with override_settings(MIGRATION_MODULES={"shop": without}):
            return list(old_models().objects.order_by("pk").values_list("title", "price"))

    assert versions.run(body) == [("Godaan", "0"), ("Nirmala", "0"), ("Toba Tek Singh", "0")]


def test_an_alias_of_a_release_that_goes_backwards_is_for_code_without_the_migration(
    shop: Project, tmp_path: Path
) -> None:
    without = only_first_migration(shop, tmp_path)
    for alias in (TITLE, WRITER, PRICE):
        shop.sql(statements.closed(alias, literal=literal))
    shop.sql("ALTER TABLE shop_book RENAME COLUMN title TO name")
    open_(shop, Alias(table="shop_book", column="title", place="name"), backwards=True)

    def body() -> Any:
        with override_settings(MIGRATION_MODULES={"shop": without}):
            return list(old_models().objects.order_by("pk").values_list("title", flat=True))

    assert versions.run(body) == ["Godaan", "Nirmala", "Toba Tek Singh"]


def only_first_migration(project: Project, tmp_path: Path) -> str:
    """Copy the migrations that code has which does not know the second; return the package."""
    package = f"{settings.MIGRATION_MODULES['shop']}_without"
    folder = tmp_path / package
    shutil.copytree(tmp_path / settings.MIGRATION_MODULES["shop"], folder)
    (folder / "0002_step.py").unlink()
    importlib.invalidate_caches()
    return package


def test_the_alias_of_a_later_release_goes_before_that_of_an_earlier(shop: Project) -> None:
    shop.sql("ALTER TABLE shop_book ADD COLUMN segue_twin_2_price integer NOT NULL DEFAULT 5")
    open_(shop, Alias(table="shop_book", column="price", place="segue_twin_2_price"))

    assert versions.run(lambda: new_models().objects.values_list("price", flat=True)[0]) == 5


def test_each_database_is_spoken_to_in_its_own_words(shop: Project) -> None:
    shop.sql("DROP TABLE shop_book", alias="stock")
    shop.sql("CREATE TABLE shop_book (id bigint PRIMARY KEY, name text, price integer)", alias="stock")
    shop.sql("INSERT INTO shop_book VALUES (1, 'elsewhere', 77)", alias="stock")

    def body() -> Any:
        book = new_models()
        query = book.objects.order_by("pk").values_list("name", "price")
        return [query.using(alias)[0] for alias in ("stock", "default", "stock")]

    assert versions.run(body) == [("elsewhere", 77), ("Godaan", 0), ("elsewhere", 77)]


def test_a_queryset_that_was_made_before_the_first_connection_joins_by_the_database_s_names(shop: Project) -> None:
    def body() -> Any:
        early = new_models().objects.filter(author__name="Premchand", price=0).select_related("author")
        return [(one.name, one.author.name) for one in early.order_by("author__name", "name")]

    assert versions.run(body) == [("Godaan", "Premchand"), ("Nirmala", "Premchand")]


def test_names_may_need_quotes_and_hold_what_means_something_elsewhere(shop: Project) -> None:
    shop.sql("""CREATE TABLE "Bücher \\1" (id bigint PRIMARY KEY, "Größe.\\1" integer)""")
    open_(
        shop,
        Alias(table='"shop.Büch\\1"', column="", place="Bücher \\1"),
        Alias(table='"shop.Büch\\1"', column="Länge 'x'", place="Größe.\\1"),
    )

    def body() -> Any:
        class Book(models.Model):
            length = models.IntegerField(db_column="Länge 'x'")

            class Meta:
                app_label = "shop"
                db_table = '"shop.Büch\\1"'

        early = Book.objects.filter(length__gt=1).order_by("length")
        Book.objects.create(pk=1, length=5)
        found = list(early.values_list("length", flat=True))
        shop.sql("""ALTER TABLE "Bücher \\1" RENAME COLUMN "Größe.\\1" TO "Länge 'x'\"""")
        shop.sql("""ALTER TABLE "Bücher \\1" RENAME TO "shop.Büch\\1\"""")
        shop.sql("COMMENT ON TABLE segue_alias IS NULL")
        Book.objects.update(length=F("length") + 1)
        return found + list(early.values_list("length", flat=True))

    assert versions.run(body) == [5, 6]


# Tables

TABLE = Alias(table="shop_book", column="", place="segue_new_shop_book")


@pytest.fixture
def two_books(project: Project) -> Project:
    """A table of old code, and one that new code calls by the same name."""
    project.live(project.migration(AUTHOR, BOOK))
    project.migration(migrations.DeleteModel("book"), BOOK)
    project.sql("INSERT INTO shop_author (name) VALUES ('Premchand')")
    project.sql("CREATE TABLE segue_new_shop_book (LIKE shop_book INCLUDING ALL)")
    project.sql("ALTER TABLE segue_new_shop_book RENAME COLUMN title TO name")
    project.sql("ALTER TABLE segue_new_shop_book RENAME COLUMN writer_id TO author_id")
    project.sql("ALTER TABLE segue_new_shop_book ALTER COLUMN price TYPE integer USING price::integer")
    project.sql("INSERT INTO shop_book (title, writer_id, price) VALUES ('of old code', 1, '0')")
    open_(project, TABLE)
    return project


def finalize_table(project: Project) -> None:
    with project.connect("finalize") as session:
        session.execute("ALTER TABLE shop_book RENAME TO segue_retired_book")
        session.execute("ALTER TABLE segue_new_shop_book RENAME TO shop_book")
        session.execute(statements.closed(TABLE, literal=literal))


def test_a_table_of_new_code_is_found_by_querysets_that_were_made_before_the_first_connection(
    two_books: Project,
) -> None:
    def body() -> Any:
        book = new_models()
        early = book.objects.filter(price__gte=0, author__name="Premchand", sequel__name__isnull=True)
        found = [list(early)]
        book.objects.create(name="Godaan", author_id=1, price=3)
        found.append([(one.name, one.price, one.author.name) for one in early.select_related("author").all()])
        finalize_table(two_books)
        book.objects.create(name="Nirmala", author_id=1, price=4)
        found.append([one.name for one in early.select_for_update(of=("self",)).filter(sequel__isnull=True)[:0]])
        found.append([one.name for one in early.order_by("name").iterator()])
        found.append(book.objects.filter(pk__in=early.values("pk")).update(price=F("price") + 1))
        return found

    assert versions.run(body) == [[], [("Godaan", 3, "Premchand")], [], ["Godaan", "Nirmala"], 2]
    assert two_books.sql("SELECT name, price FROM shop_book ORDER BY id") == [("Godaan", 4), ("Nirmala", 5)]
    assert two_books.sql("SELECT title, price FROM segue_retired_book") == [("of old code", "0")]


# Views


@pytest.fixture
def viewed(project: Project) -> Project:
    """A table that new code knows by another name, under which a view stands in for it."""
    project.live(project.migration(AUTHOR, BOOK))
    project.migration(migrations.AlterModelTable("author", "shop_writer"))
    project.sql("INSERT INTO shop_author (name) VALUES ('Premchand'), ('Manto')")
    project.sql("INSERT INTO shop_book (title, writer_id, price) VALUES ('Godaan', 1, '0'), ('Nirmala', 1, '0')")
    project.sql("CREATE VIEW shop_writer AS SELECT id, name FROM shop_author")
    return project


def viewed_models() -> Any:
    class Writer(models.Model):
        name = models.CharField(max_length=50)

        class Meta:
            app_label = "shop"

    class Book(models.Model):
        title = models.CharField(max_length=50)
        writer = models.ForeignKey(Writer, models.CASCADE, related_name="books")

        class Meta:
            app_label = "shop"

    del Book
    return Writer


def test_new_code_uses_a_view_as_it_would_the_table(viewed: Project) -> None:
    def body() -> Any:
        writer = viewed_models()
        found: list[Any] = []
        with transaction.atomic():
            found.append(writer.objects.create(name="Chughtai").pk)
            found.append(list(writer.objects.annotate(n=Count("books")).order_by("pk").values_list("name", "n")))
            found.append([one.n for one in writer.objects.annotate(n=Count("books")).order_by("pk")])
            found.append([one.name for one in writer.objects.select_for_update().order_by("pk")])
            found.append([one.name for one in writer.objects.select_for_update(of=("self",)).filter(books__pk=1)])
        writer.objects.bulk_create(
            [writer(pk=1, name="Dhanpat Rai")], update_conflicts=True, unique_fields=["id"], update_fields=["name"]
        )
        writer.objects.bulk_create([writer(pk=2, name="ignored")], ignore_conflicts=True)
        found.append(writer.objects.filter(name__startswith="D").update(name=F("name")))
        found.append(list(writer.objects.values_list("name", flat=True).order_by("pk")))
        found.append(writer.objects.filter(name="Chughtai").delete()[0])
        return found

    assert versions.run(body) == [
        3,
        [("Premchand", 2), ("Manto", 0), ("Chughtai", 0)],
        [2, 0, 0],
        ["Premchand", "Manto", "Chughtai"],
        ["Premchand"],
        1,
        ["Dhanpat Rai", "Manto", "Chughtai"],
        1,
    ]
    assert viewed.sql("SELECT name FROM shop_author ORDER BY id") == [("Dhanpat Rai",), ("Manto",)]


def test_traffic_of_new_code_does_not_notice_that_a_view_becomes_the_table(viewed: Project) -> None:
    def prepare() -> list[Callable[[], None]]:
        writer = viewed_models()

        def counts() -> None:
            assert writer.objects.annotate(n=Count("books")).filter(n=2).get(pk=1).n == 2

        def writes() -> None:
            with transaction.atomic():
                writer.objects.select_for_update().get(pk=2)
                writer.objects.filter(pk=2).update(name="Saadat Hasan Manto")

        return [counts, writes]

    with versions.traffic(prepare, processes=2, threads=2) as traffic:
        traffic.wait_for(100)
        with viewed.connect("finalize") as session:
            # As the application does: the view first, then what lies under it.
            session.execute("LOCK TABLE shop_writer IN ACCESS EXCLUSIVE MODE")
            session.execute("DROP VIEW shop_writer")
            session.execute("ALTER TABLE shop_author RENAME TO shop_writer")
        traffic.wait_for(100)
        failures = traffic.end()

    assert failures == []


def test_a_table_is_grouped_by_its_primary_key_as_stock_django_does(project: Project) -> None:
    project.live(project.migration(AUTHOR, BOOK))

    def body() -> Any:
        writer = viewed_models()
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE shop_author RENAME TO shop_writer")
        query = writer.objects.annotate(n=Count("books"))
        with CaptureQueriesContext(connection) as captured:
            list(query)
        return [one["sql"] for one in captured]

    [statement] = versions.run(body)

    assert statement.endswith('GROUP BY "shop_writer"."id"')


# Connections


def test_a_connection_asks_for_nothing_more_than_its_tag(shop: Project) -> None:
    def body() -> Any:
        new_models()
        connection.force_debug_cursor = True
        connection.connect()
        return [one["sql"].partition("(")[0] for one in connection.queries]

    assert versions.run(body) == ["SELECT set_config"]


def test_a_database_that_segue_has_never_seen_has_no_aliases(project: Project) -> None:
    project.sql("CREATE TABLE shop_book (id bigint PRIMARY KEY, name text)")

    assert versions.run(lambda: new_models().objects.values_list("name").count()) == 0


def test_a_role_that_may_only_read_the_application_s_tables_knows_the_aliases(shop: Project) -> None:
    shop.sql("DROP ROLE IF EXISTS reader")
    shop.sql("CREATE ROLE reader LOGIN")
    shop.sql("GRANT SELECT ON shop_book TO reader")
    shop.sql("ALTER ROLE reader SET default_transaction_read_only = on")

    def body() -> Any:
        connection.settings_dict["USER"] = "reader"
        return list(new_models().objects.order_by("pk").values_list("name", "price"))

    try:
        assert versions.run(body) == [("Godaan", 0), ("Nirmala", 0), ("Toba Tek Singh", 0)]
    finally:
        shop.sql("DROP OWNED BY reader")
        shop.sql("DROP ROLE reader")


def test_a_query_that_needs_no_database_needs_none_with_segue_either(project: Project) -> None:
    class Forbidden(SimpleTestCase):
        def runTest(self) -> None:  # noqa: N802
            book = new_models()
            self.assertEqual(list(book.objects.filter(pk__in=[])), [])
            self.assertIn('"shop_book"."name"', str(book.objects.annotate(n=Count("sequel")).query))

    def body() -> Any:
        result = Forbidden().run()
        assert result is not None
        return [text for _, text in (*result.errors, *result.failures)]

    assert versions.run(body) == []


# Segue's own process


def renaming() -> migrations.RunSQL:
    """A migration's operation that opens an alias, as the editor's do."""
    title = Alias(table="shop_book", column="name", place="title")
    opening = statements.opened(title, release="r", app="shop", migration="0002_step", literal=literal)
    return migrations.RunSQL(opening, migrations.RunSQL.noop, [migrations.RenameField("book", "title", "name")])


@pytest.mark.parametrize("command", ["segue apply", "manage.py migrate"])
def test_handlers_of_post_migrate_use_new_code_s_models_at_once(project: Project, command: str) -> None:
    project.live(project.migration(AUTHOR, BOOK))
    project.sql("ALTER TABLE shop_book ALTER COLUMN price SET DEFAULT '0'")
    project.sql("INSERT INTO shop_author (name) VALUES ('Premchand')")
    project.migration(renaming())

    def body() -> Any:
        book = new_models()

        def fill(using: str, **_: Any) -> None:
            book.objects.using(using).get_or_create(name="Godaan", defaults={"author_id": 1})

        post_migrate.connect(fill, sender=apps.get_app_config("shop"), weak=False)
        if command == "segue apply":
            project.apply()
        else:
            call_command("migrate", "shop", verbosity=0)
        return list(book.objects.values_list("name", flat=True))

    shop_without_author(project)

    assert versions.run(body) == ["Godaan"]


def shop_without_author(project: Project) -> None:
    """Let the column that the model calls author be called so, because only the title has an alias here."""
    project.sql("ALTER TABLE shop_book RENAME COLUMN writer_id TO author_id")


def test_segue_s_own_statements_say_the_database_s_names_and_models_their_own(two_books: Project) -> None:
    def body() -> Any:
        book = new_models()
        assert str(book.objects.filter(price__gte=0).query).endswith('"shop_book"."price" >= 0')
        two_books.session()
        return two_books.sql('SELECT "shop_book"."title" FROM "shop_book"'), book.objects.filter(price__gte=0).count()

    assert versions.run(body) == ([("of old code",)], 0)


# Whole releases

AS_MODELS = migrations.CreateModel(
    "Book",
    [
        _ID,
        ("title", models.CharField(max_length=50, unique=True)),
        ("price", models.TextField(default="0")),
    ],
)


def renamed_models() -> Any:
    class Volume(models.Model):
        name = models.CharField(max_length=50, unique=True)
        price = models.IntegerField(default=0)

        class Meta:
            app_label = "shop"

    return Volume


@override_settings(SEGUE={**settings.SEGUE, "ALIAS_FROM": 1})
def test_traffic_of_both_versions_does_not_notice_a_release_and_new_code_s_does_not_notice_finalize(
    project: Project, tmp_path: Path
) -> None:
    first = project.migration(AS_MODELS)
    project.live(first)
    project.sql("INSERT INTO shop_book (title, price) SELECT 'book ' || n, '0' FROM generate_series(1, 50) n")
    package = settings.MIGRATION_MODULES["shop"]
    (tmp_path / f"{package}_old").mkdir()
    shutil.copytree(tmp_path / package, tmp_path / f"{package}_old", dirs_exist_ok=True)
    project.migration(
        migrations.RenameField("book", "title", "name"),
        migrations.AlterField("book", "price", models.IntegerField(default=0)),
        migrations.RenameModel("Book", "Volume"),
    )

    def prepare_old() -> list[Callable[[], None]]:
        settings.MIGRATION_MODULES = {"shop": f"{package}_old"}
        book = old_models()

        def changes() -> None:
            with transaction.atomic():
                one = book.objects.select_for_update().get(title="book 1")
                one.price = str(int(one.price) + 1)
                one.save()

        return [changes]

    def prepare_new() -> list[Callable[[], None]]:
        volume = renamed_models()

        def changes() -> None:
            with transaction.atomic():
                volume.objects.select_for_update().get(name="book 1")
                volume.objects.filter(name="book 1").update(price=F("price") + 1)

        def adds() -> None:
            volume.objects.bulk_create(
                [volume(name="added", price=1)],
                update_conflicts=True,
                unique_fields=["name"],
                update_fields=["price"],
            )

        def counts() -> None:
            assert volume.objects.annotate(n=Count("price")).filter(n=1, name="book 2").get().price == 0

        return [changes, adds, counts]

    with versions.traffic(prepare_old, processes=1, threads=2) as old:
        old.wait_for(50)
        project.apply()
        with versions.traffic(prepare_new, processes=1, threads=3) as new:
            new.wait_for(100)
            old.wait_for(50)
            failures = old.end()
            project.finalize()
            new.wait_for(200)
            failures += new.end()

    assert failures == []
    project.stock()
    assert project.differences() == []


def other_models() -> Any:
    """The models of code whose book is another one, of the same name."""

    class Author(models.Model):
        name = models.CharField(max_length=50)

        class Meta:
            app_label = "shop"

    class Book(models.Model):
        name = models.CharField(max_length=50, unique=True)
        author = models.ForeignKey(Author, models.CASCADE, related_name="books")
        readers = models.ManyToManyField(Author, related_name="read")
        price = models.IntegerField(default=0)

        class Meta:
            app_label = "shop"

    return Book


OTHER_BOOK = migrations.CreateModel(
    "Book",
    [
        _ID,
        ("name", models.CharField(max_length=50, unique=True)),
        ("author", models.ForeignKey("shop.author", models.CASCADE, related_name="books")),
        ("readers", models.ManyToManyField("shop.author", related_name="read")),
        ("price", models.IntegerField(default=0)),
    ],
)


def uses_its_own_table(book: Any) -> list[Any]:
    """Use a table in every way that names it; return what is found."""
    found: list[Any] = []
    with transaction.atomic():
        one = book.objects.create(name="Godaan", author_id=1, price=3)
        one.readers.add(1)
        found.append([b.name for b in book.objects.select_for_update(of=("self",)).select_related("author")])
        both = book.objects.select_related("author").select_for_update(of=("author", "self"), no_key=True)
        found.append([b.name for b in both[:1]])
        found.append([(b.name, b.n) for b in book.objects.annotate(n=Count("readers"))])
    again = [book(name="Godaan", author_id=1, price=5)]
    book.objects.bulk_create(again, update_conflicts=True, unique_fields=["name"], update_fields=["price"])
    found.append(list(book.objects.filter(readers__name="Premchand").values_list("price", "author__name")))
    found.append(book.objects.filter(pk__in=book.objects.filter(price=5)).update(price=F("price") + 1))
    found.append([a.name for a in book.author.get_queryset().filter(books__price=6, read__isnull=False)])
    found.append(book.objects.all().delete()[0])
    return found


def test_new_code_uses_a_table_that_lies_beside_old_codes_as_it_would_its_own(project: Project) -> None:
    project.live(project.migration(AUTHOR, BOOK))
    project.sql("INSERT INTO shop_author (name) VALUES ('Premchand')")
    project.sql("INSERT INTO shop_book (title, writer_id, price) VALUES ('of old code', 1, '0')")
    project.migration(migrations.DeleteModel("book"), OTHER_BOOK)

    def body() -> Any:
        book = other_models()
        return [uses_its_own_table(book), project.finalize() and uses_its_own_table(book)]

    project.apply()
    while_open, after = versions.run(body)

    assert while_open == after
    assert while_open == [["Godaan"], ["Godaan"], [("Godaan", 1)], [(5, "Premchand")], 1, ["Premchand"], 2]
    project.rollback()
    assert project.sql('SELECT place, backwards FROM "segue_alias"') != []


def test_traffic_of_both_versions_does_not_notice_that_a_table_gives_way_to_another_of_its_name(
    project: Project, tmp_path: Path
) -> None:
    project.live(project.migration(AUTHOR, AS_MODELS))
    project.sql("INSERT INTO shop_author (name) VALUES ('Premchand')")
    project.sql("INSERT INTO shop_book (title, price) SELECT 'book ' || n, '0' FROM generate_series(1, 50) n")
    package = settings.MIGRATION_MODULES["shop"]
    shutil.copytree(tmp_path / package, tmp_path / f"{package}_old")
    project.migration(migrations.DeleteModel("book"), OTHER_BOOK)

    def prepare_old() -> list[Callable[[], None]]:
        settings.MIGRATION_MODULES = {"shop": f"{package}_old"}
        book = old_models()

        def changes() -> None:
            with transaction.atomic():
                one = book.objects.select_for_update().get(title="book 1")
                one.price = str(int(one.price) + 1)
                one.save()

        return [changes]

    def prepare_new() -> list[Callable[[], None]]:
        book = other_models()

        def adds() -> None:
            with transaction.atomic():
                book.author.get_queryset().get(pk=1)
                one, _ = book.objects.get_or_create(name="Godaan", defaults={"author_id": 1})
                one.readers.add(1)

        def changes() -> None:
            with transaction.atomic():
                for one in book.objects.select_for_update(of=("self",)).filter(author__name="Premchand"):
                    book.objects.filter(pk=one.pk).update(price=F("price") + 1)

        def counts() -> None:
            assert [b.n for b in book.objects.annotate(n=Count("readers"))] in ([], [1])

        return [adds, changes, counts]

    with versions.traffic(prepare_old, processes=1, threads=2) as old:
        old.wait_for(50)
        project.apply()
        with versions.traffic(prepare_new, processes=2, threads=3) as new:
            new.wait_for(100)
            old.wait_for(50)
            failures = old.end()
            project.finalize()
            new.wait_for(200)
            failures += new.end()

    assert failures == []
    project.stock()
    assert project.differences() == []
