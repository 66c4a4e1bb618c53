"""A developer's machine: SQLite, DEBUG, and no environment variable needed.

The alias ``staging`` joins when STAGING_DATABASE_URL is set, so that
``manage.py migrate --database=staging`` works from here too.
"""

from .base import *
from .base import BASE_DIR
from .environment import is_set, postgresql_database

DEBUG = True
SECRET_KEY = "django-insecure-for-development-only"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "db.sqlite3",
    },
}
if is_set("STAGING_DATABASE_URL"):
    DATABASES["staging"] = postgresql_database("STAGING_DATABASE_URL")
