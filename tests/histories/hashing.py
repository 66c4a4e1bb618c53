"""A password hasher that gives a value the same hash in every database."""

from django.contrib.auth.hashers import MD5PasswordHasher


class SameHasher(MD5PasswordHasher):
    """MD5 with one salt for all."""

    def salt(self) -> str:
        """Return it."""
        return "histories"
