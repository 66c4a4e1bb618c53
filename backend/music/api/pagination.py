"""How lists are cut into pages: by cursor, so that page 10,000 costs what page 1 costs and rows that
arrive meanwhile neither repeat nor hide others.
"""

from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination


class NewestFirst(CursorPagination):
    """Descending ids: unique, never changed, and served by the primary key."""

    ordering = "-id"
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def decode_cursor(self, request: Any) -> Cursor | None:
        """Refuse a forged cursor here: its position would fail in the query, as a server error."""
        cursor = super().decode_cursor(request)
        if cursor is None or cursor.position is None or _is_database_integer(cursor.position):
            return cursor
        raise NotFound(self.invalid_cursor_message)


class PlaylistOrder(NewestFirst):
    """Songs as their playlist orders them."""

    ordering = ("position", "id")


def _is_database_integer(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18
