"""The `shop` fixture: an empty project on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.sqlite.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """An app "shop" without migrations, on a database file that does not exist yet."""
    with Shop.on(tmp_path) as made:
        yield made
