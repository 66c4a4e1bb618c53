"""Archives in a folder: parts and a manifest, and nothing that was changed since is ever handed out."""

from __future__ import annotations

from pathlib import Path

import pytest

from segue.core import archive
from segue.core.archive import ArchivedColumn, Contents, Fingerprint, Manifest
from segue.core.change import Kind, Retired
from segue.core.errors import ArchiveDamaged, StoreFailed
from segue.storage import ObjectStorage, archives
from segue.storage.archives import Archives

BOOK = Retired(kind=Kind.COLUMN, table='the "Book"', name="título", definition="text", place="grave")
CONTENTS = Contents(of=BOOK, columns=(ArchivedColumn(name="id", type="bigint"),), key=("id",), table_id=7)


@pytest.fixture
def store(tmp_path: Path) -> Archives:
    return Archives(ObjectStorage(f"file://{tmp_path}"))


def written(store: Archives, rows: list[bytes]) -> Manifest:
    """Write rows and their manifest; return it."""
    writer = store.writer("archive/a")
    for row in rows:
        writer.write(row)
    writer.flush()
    manifest = Manifest(
        key="archive/a",
        release="r1",
        server="18.6",
        at="2026-01-01",
        contents=CONTENTS,
        fingerprint=Fingerprint(rows=len(rows), hash="1"),
        parts=writer.parts,
    )
    store.seal(manifest)
    return manifest


def test_rows_come_back_in_their_order_whatever_parts_they_were_cut_into(
    store: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "PART_BYTES", 100)
    rows = [f"{n}\tvalue {n}\n".encode() for n in range(50)]

    manifest = written(store, rows)

    assert len(manifest.parts) > 3
    assert sum(part.rows for part in manifest.parts) == 50
    assert b"".join(store.rows(manifest)) == b"".join(rows)
    assert store.manifest("archive/a") == manifest


def test_an_archive_without_rows_has_no_part(store: Archives) -> None:
    manifest = written(store, [])

    assert (manifest.parts, [*store.rows(manifest)]) == ((), [])


def test_there_is_no_archive_before_its_manifest(store: Archives) -> None:
    writer = store.writer("archive/a")
    writer.write(b"1\n")
    writer.flush()

    assert store.find("archive/a") is None


@pytest.mark.parametrize("place", [0, 10, -1])
def test_a_part_with_a_changed_bit_is_not_handed_out(store: Archives, tmp_path: Path, place: int) -> None:
    manifest = written(store, [b"1\ta value\n"])
    path = tmp_path / "archive/a/000001.copy.zst"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)

    with pytest.raises(ArchiveDamaged):
        next(store.rows(manifest))


def test_a_manifest_of_another_archive_is_not_taken_for_its_own(store: Archives, tmp_path: Path) -> None:
    written(store, [b"1\n"])
    (tmp_path / "archive/a").rename(tmp_path / "archive/b")

    with pytest.raises(ArchiveDamaged):
        store.find("archive/b")


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format": 2}', b"\xff"])
def test_what_is_no_manifest_is_none(data: bytes) -> None:
    assert archive.read(data) is None


def test_a_folder_is_named_for_a_person_and_is_its_objects_own() -> None:
    folder = archive.folder("default", "r1", BOOK)

    assert folder.startswith("archive/default/r1/column-the-Book-.t-tulo-")
    assert folder != archive.folder("default", "r1", Retired(kind=Kind.COLUMN, table="b", name="n", definition=""))


def test_a_store_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("a file, where a folder should be")

    with pytest.raises(StoreFailed) as failed:
        ObjectStorage(f"file://{tmp_path}").write("archive/a/manifest.json", b"{}")

    first, second = str(failed.value).splitlines()
    assert first.startswith(f"archive/a/manifest.json in file://{tmp_path} could not be written: ")
    assert second == "Next: see that the store is there, may be used and is not full; then the same command again"


def test_what_is_not_there_reads_as_nothing(tmp_path: Path) -> None:
    assert ObjectStorage(f"file://{tmp_path}").read("archive/none") is None
