"""Fields that refuse what the database would refuse: there it would be a server error."""

import json
import re
from typing import Any

from django.db import models
from rest_framework import serializers

MAX_PROPERTIES_BYTES = 8 * 1024

# PostgreSQL's jsonb cannot hold U+0000. An even number of backslashes before it means that
# the text itself contains "\u0000", which is harmless.
# https://www.postgresql.org/docs/current/datatype-json.html
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class IdField(serializers.IntegerField):
    """A row's id, within the range of the column."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=1, max_value=models.BigIntegerField.MAX_BIGINT, **kwargs)


class PropertiesField(serializers.DictField):
    """A JSON object that both engines can store, of at most ``MAX_PROPERTIES_BYTES``."""

    default_error_messages = {
        "not_storable": "This object holds a number or a character that JSON columns cannot store.",
        "too_large": "This object takes {size} bytes; at most {limit} are stored.",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        properties: dict[str, Any] = super().to_internal_value(data)
        try:
            text = json.dumps(properties, ensure_ascii=False, allow_nan=False)
            size = len(text.encode())
        # A number beyond a float's range, or half of a surrogate pair.
        except ValueError:
            self.fail("not_storable")
        if _NUL.search(text):
            self.fail("not_storable")
        if size > MAX_PROPERTIES_BYTES:
            self.fail("too_large", size=size, limit=MAX_PROPERTIES_BYTES)
        return properties


class BatchField(serializers.ListField):
    """A list whose length is checked before its items are; their errors are keyed by index."""

    default_error_messages = {
        "too_many": "Send at most {limit} items at once, not {count}.",
    }

    def __init__(self, *, max_items: int, **kwargs: Any) -> None:
        self.max_items = max_items
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> list[Any]:
        if isinstance(data, list) and len(data) > self.max_items:
            self.fail("too_many", limit=self.max_items, count=len(data))
        items: list[Any] = super().to_internal_value(data)
        return items
