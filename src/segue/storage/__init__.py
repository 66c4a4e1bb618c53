"""Where backups, archives, reports and the ledger lie: a folder or an object store, by one URL.

obstore speaks both and takes an object store's credentials from that store's own environment variables.
"""

from __future__ import annotations

from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from segue.core.errors import UsageError


class ObjectStorage:
    """Objects by key in anything that obstore can reach; writing replaces an object whole."""

    def __init__(self, url: str) -> None:
        self.url = url
        options: dict[str, Any] = {"mkdir": True} if url.startswith("file:") else {}
        try:
            self._store = from_url(url, **options)
        except (BaseError, ValueError) as error:
            raise UsageError(
                f'SEGUE["STORE"] is "{url}", and that cannot be opened: {error}',
                next_command="set it to file:///an/absolute/folder or s3://bucket/prefix",
            ) from error

    def write(self, key: str, data: bytes) -> None:
        """Store the object; it is visible only when it is whole."""
        obstore.put(self._store, key, data)
