"""A column that changes its type, alone or with the keys that refer to it: both versions work, and it can go back."""

from __future__ import annotations

from django.db import migrations, models

from segue.core.run import State
from tests.project import Project

ID = ("id", models.AutoField(primary_key=True))


def shop(project: Project, *more: tuple[str, models.Field]) -> None:
    first = project.migration(
        migrations.CreateModel("Author", [ID, ("name", models.CharField(max_length=20, unique=True))]),
        migrations.CreateModel(
            "Book",
            [ID, ("author", models.ForeignKey("shop.author", models.CASCADE)), ("pages", models.IntegerField()), *more],
            options={"indexes": [models.Index(fields=["pages"], name="book_pages")]},
        ),
    )
    project.live(first)
    project.sql("INSERT INTO shop_author (name) SELECT 'author ' || g FROM generate_series(1, 50) g")
    columns, values = "author_id, pages", "1 + g % 50, g"
    if more:
        columns, values = f"{columns}, {more[0][0]}", f"{values}, g"
    project.sql(f"INSERT INTO shop_book ({columns}) SELECT {values} FROM generate_series(1, 500) g")


def test_an_integer_becomes_a_bigint_while_old_code_writes_and_goes_back(project: Project) -> None:
    shop(project)
    last = project.migration(migrations.AlterField("Book", "pages", models.BigIntegerField()))

    project.apply()
    project.sql("INSERT INTO shop_book (author_id, pages) VALUES (1, 7000)")
    project.sql("UPDATE shop_book SET pages = 8000 WHERE id = 3")
    run = project.rollback()

    assert run.state is State.ROLLED_BACK
    assert project.sql("SELECT pg_typeof(pages)::text, count(*), sum(pages) FROM shop_book GROUP BY 1") == [
        ("integer", 501, 125250 + 7000 + 8000 - 3)
    ]
    project.sql("UPDATE shop_book SET pages = 9000 WHERE id = 4")
    project.apply()
    project.finalize()
    project.stock(last)
    assert project.differences() == []
    assert project.sql("SELECT sum(pages) FROM shop_book") == [(125250 + 7000 + 8000 - 3 + 9000 - 4,)]


def test_a_value_that_the_old_type_cannot_hold_goes_to_quarantine_and_comes_back(project: Project) -> None:
    shop(project)
    project.migration(migrations.AlterField("Book", "pages", models.BigIntegerField()))

    project.apply()
    project.sql("UPDATE shop_book SET pages = 5000000000 WHERE id = 3")
    project.rollback()

    assert project.sql("SELECT pages FROM shop_book WHERE id = 3") == [(None,)]
    assert project.sql("SELECT reason, \"row\"->>'pages' FROM segue_quarantine") == [
        ("shop_book.pages cannot hold the value", "5000000000")
    ]
    project.apply()
    assert project.sql("SELECT pages FROM shop_book WHERE id = 3") == [(5000000000,)]


def test_a_column_that_a_value_has_loosened_on_the_way_back_is_not_null_again_when_it_comes_back(
    project: Project,
) -> None:
    shop(project)
    last = project.migration(migrations.AlterField("Book", "pages", models.BigIntegerField()))

    project.apply()
    project.sql("UPDATE shop_book SET pages = 5000000000 WHERE id = 3")
    project.rollback()
    project.apply()
    project.finalize()
    project.stock(last)

    assert project.differences() == []
    assert project.sql("SELECT pages FROM shop_book WHERE id = 3") == [(5000000000,)]


def test_new_code_writes_what_old_codes_type_has_no_value_for(project: Project) -> None:
    shop(project)
    last = project.migration(migrations.AlterField("Book", "pages", models.TextField()))

    project.apply()
    project.sql("UPDATE shop_book SET segue_twin_pages = 'many' WHERE id = 3")
    assert project.sql("SELECT pages FROM shop_book WHERE id IN (2, 3) ORDER BY id") == [(2,), (None,)]
    project.rollback()

    listed = "SELECT reason, \"row\"->>'pages' FROM segue_quarantine"
    assert project.sql(listed) == [("shop_book.pages cannot hold the value", "many")]
    project.apply()
    project.finalize()
    project.stock(last)
    assert project.differences() == []
    assert project.sql("SELECT pages FROM shop_book WHERE id IN (2, 3) ORDER BY id") == [("2",), ("many",)]
    project.rollback()
    project.finalize()
    assert project.sql("SELECT pages FROM shop_book WHERE id IN (2, 3) ORDER BY id") == [(2,), (None,)]
    assert project.sql(listed) == [("shop_book.pages cannot hold the value", "many")] * 2


def test_a_primary_key_becomes_a_bigint_with_every_key_that_refers_to_it(project: Project) -> None:
    shop(project)
    last = project.migration(
        migrations.AlterField("Author", "id", models.BigAutoField(primary_key=True)),
        migrations.AlterField("Book", "id", models.BigAutoField(primary_key=True)),
    )

    project.apply()
    project.sql("INSERT INTO shop_author (name) VALUES ('new')")
    project.sql("INSERT INTO shop_book (author_id, pages) VALUES (51, 1)")
    types = "SELECT data_type FROM information_schema.columns WHERE column_name IN ('id', 'author_id')"
    types += " AND table_name LIKE 'shop_%' ORDER BY 1"
    assert project.sql(types) == [("bigint",)] * 3
    project.rollback()
    assert project.sql(types) == [("integer",)] * 3
    project.sql("INSERT INTO shop_author (name) VALUES ('newer')")
    assert project.sql("SELECT id FROM shop_author WHERE name LIKE 'new%' ORDER BY 1") == [(51,), (52,)]
    project.apply()
    project.finalize()
    project.stock(last)
    assert project.differences() == []
    assert project.sql("SELECT count(*) FROM shop_book JOIN shop_author ON shop_author.id = author_id") == [(501,)]
    project.sql("INSERT INTO shop_author (name) VALUES ('after finalize')")
    project.sql("INSERT INTO shop_book (author_id, pages) SELECT max(id), 1 FROM shop_author")
    project.apply("0001_step")
    project.sql("INSERT INTO shop_author (name) VALUES ('of old code')")
    project.finalize()
    project.sql("INSERT INTO shop_author (name) VALUES ('of old code alone')")
    assert project.sql("SELECT count(*), count(DISTINCT id) FROM shop_author") == [(55, 55)]


def test_a_key_beyond_the_old_type_is_kept_within_its_range_on_the_way_back(project: Project) -> None:
    shop(project)
    project.migration(migrations.AlterField("Author", "id", models.BigAutoField(primary_key=True)))

    project.apply()
    project.sql("INSERT INTO shop_author (id, name) VALUES (4294967297000, 'far')")
    project.sql("INSERT INTO shop_book (author_id, pages) VALUES (4294967297000, 1)")
    project.rollback()

    joined = "SELECT name FROM shop_book JOIN shop_author ON shop_author.id = author_id WHERE pages = 1 ORDER BY 1"
    assert project.sql(joined) == [("author 2",), ("far",)]
    assert project.sql('SELECT "table" FROM segue_quarantine ORDER BY 1') == [("shop_author",), ("shop_book",)]
    project.apply()
    assert project.sql(joined) == [("author 2",), ("far",)]
    assert project.sql("SELECT id FROM shop_author WHERE name = 'far'") == [(4294967297000,)]


def test_a_text_becomes_a_number_beside_the_text_that_old_code_uses(project: Project) -> None:
    shop(project, ("isbn", models.CharField(max_length=20, default="1", db_index=True)))
    last = project.migration(migrations.AlterField("Book", "isbn", models.IntegerField(default=1)))

    project.apply()
    project.sql("UPDATE shop_book SET isbn = '12' WHERE id = 1")
    assert project.sql("SELECT segue_twin_isbn FROM shop_book WHERE id IN (1, 2) ORDER BY id") == [(12,), (2,)]
    project.sql("UPDATE shop_book SET segue_twin_isbn = 22 WHERE id = 2")
    project.rollback()
    assert project.sql("SELECT isbn FROM shop_book WHERE id IN (1, 2) ORDER BY id") == [("12",), ("22",)]
    project.apply()
    project.finalize()
    project.stock(last)
    assert project.differences() == []
    assert project.sql("SELECT isbn FROM shop_book WHERE id IN (1, 2) ORDER BY id") == [(12,), (22,)]


def test_a_shorter_text_waits_for_finalize(project: Project) -> None:
    shop(project)
    last = project.migration(migrations.AlterField("Author", "name", models.CharField(max_length=12, unique=True)))

    project.apply()
    project.sql("INSERT INTO shop_author (name) VALUES ('a name of 20 letters')")
    project.sql("DELETE FROM shop_author WHERE length(name) > 12")
    project.finalize()

    project.stock(last)
    assert project.differences() == []
    project.rollback()
    project.stock("0001_step")
    assert project.differences() == []


def test_a_longer_text_is_a_matter_of_the_catalog(project: Project) -> None:
    shop(project)
    last = project.migration(migrations.AlterField("Author", "name", models.CharField(max_length=50, unique=True)))

    project.apply()
    project.finalize()
    project.stock(last)

    assert project.differences() == []


def test_what_forbids_null_has_stocks_name_when_the_type_has_changed(project: Project) -> None:
    shop(project, ("code", models.CharField(max_length=20)))
    last = project.migration(
        migrations.AlterField("Book", "pages", models.BigIntegerField()),
        migrations.AlterField("Author", "id", models.BigAutoField(primary_key=True)),
        migrations.AlterField("Book", "code", models.IntegerField()),
    )
    named = (
        "SELECT conname FROM pg_constraint WHERE contype = 'n' "
        "AND conrelid IN ('shop_book'::regclass, 'shop_author'::regclass) AND conname NOT LIKE '%%retired%%' ORDER BY 1"
    )

    project.apply()
    project.finalize()
    project.stock(last)

    assert project.sql(named, []) == project.sql(named, [], alias="stock")


def test_a_key_of_a_table_whose_name_postgresql_cuts_becomes_a_bigint_with_what_refers_to_it(project: Project) -> None:
    long = "a_name_that_is_longer_than_sixty_three_bytes_of_which_postgresql_keeps_the_beginning"
    project.live(
        project.migration(
            migrations.CreateModel("Author", [ID], options={"db_table": long}),
            migrations.CreateModel("Book", [ID, ("author", models.ForeignKey("shop.author", models.CASCADE))]),
        )
    )
    project.sql(f"INSERT INTO {long} DEFAULT VALUES")
    project.sql("INSERT INTO shop_book (author_id) VALUES (1)")
    last = project.migration(migrations.AlterField("Author", "id", models.BigAutoField(primary_key=True)))

    project.apply()
    project.finalize()
    project.stock(last)

    assert project.differences() == []
    assert project.sql(f"SELECT a.id FROM {long} a JOIN shop_book b ON b.author_id = a.id") == [(1,)]


def test_what_comes_to_refer_to_a_key_that_will_be_narrower_refers_to_it_before_and_after(project: Project) -> None:
    shop(project)
    project.migration(
        migrations.AlterField("Author", "id", models.SmallAutoField(primary_key=True)),
        migrations.AddField("Book", "editor", models.ForeignKey("shop.author", models.PROTECT, null=True)),
    )
    last = project.migration(
        migrations.AddField(
            "Book", "reader", models.ForeignKey("shop.author", models.CASCADE, null=True, related_name="+")
        )
    )

    project.apply()
    project.sql("UPDATE shop_book SET editor_id = 2, reader_id = 3 WHERE id = 1")
    project.finalize()
    project.stock(last)

    assert project.differences() == []
    assert project.sql("SELECT editor_id, reader_id FROM shop_book WHERE id = 1") == [(2, 3)]
    assert project.sql("SELECT conname FROM pg_constraint WHERE NOT convalidated") == []


def test_a_key_becomes_narrower_where_new_code_sees_its_table_through_a_view(project: Project) -> None:
    shop(project)
    last = project.migration(
        migrations.AlterField("Author", "id", models.SmallAutoField(primary_key=True)),
        migrations.AlterModelTable("Author", "writers"),
        migrations.AlterModelTable("Book", "texts"),
    )

    project.apply()
    project.finalize()
    project.stock(last)

    assert project.differences() == []


def test_what_forbids_null_has_stocks_name_when_the_column_is_renamed_with_the_model_that_it_refers_to(
    project: Project,
) -> None:
    shop(project)
    readers = models.ManyToManyField("shop.author", related_name="+")
    project.live(project.migration(migrations.AddField("Book", "readers", readers)))
    project.finalize()
    last = project.migration(
        migrations.RenameModel("Book", "Volume"),
        migrations.AlterField("Volume", "id", models.BigAutoField(primary_key=True)),
    )
    names = "SELECT conname FROM pg_constraint WHERE contype = 'n' AND conrelid = 'shop_volume_readers'::regclass"

    project.apply()
    project.finalize()
    project.stock(last)

    assert project.differences() == []
    assert sorted(project.sql(names)) == sorted(project.sql(names, alias="stock"))


def test_what_forbids_null_is_named_as_stock_names_it_where_postgresql_cuts_the_name(project: Project) -> None:
    table = "a_table_with_a_name_that_leaves_little_room_for_those_of_others"
    model = migrations.CreateModel("Wide", [ID, ("pages", models.IntegerField())], options={"db_table": table})
    project.live(project.migration(model))
    project.finalize()
    last = project.migration(migrations.AlterField("Wide", "pages", models.BigIntegerField()))
    names = f"SELECT conname FROM pg_constraint WHERE contype = 'n' AND conrelid = '{table}'::regclass"

    project.apply()
    project.finalize()
    project.stock(last)

    assert sorted(project.sql(names)) == sorted(project.sql(names, alias="stock"))
