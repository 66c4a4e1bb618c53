"""The store: a folder by its URL, and a clear error for what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from segue.core.errors import UsageError
from segue.storage import ObjectStorage


def test_a_folder_takes_an_object_whole_and_replaces_it(tmp_path: Path) -> None:
    store = ObjectStorage(f"file://{tmp_path}/new/folder")

    store.write("ledger/default/r1.jsonl", b"first\n")
    store.write("ledger/default/r1.jsonl", b"second\n")

    assert (tmp_path / "new/folder/ledger/default/r1.jsonl").read_bytes() == b"second\n"


def test_a_url_that_means_no_store_is_refused_with_what_to_write() -> None:
    with pytest.raises(UsageError) as refused:
        ObjectStorage("nowhere")

    assert str(refused.value).startswith('SEGUE["STORE"] is "nowhere", and that cannot be opened: ')
    assert refused.value.next_command == "set it to file:///an/absolute/folder or s3://bucket/prefix"
