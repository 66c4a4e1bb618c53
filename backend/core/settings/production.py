"""Production: PostgreSQL at DATABASE_URL; the alias ``staging`` joins when STAGING_DATABASE_URL is set."""

from .environment import is_set, postgresql_database
from .hardened import *

DATABASES = {"default": postgresql_database("DATABASE_URL")}
if is_set("STAGING_DATABASE_URL"):
    DATABASES["staging"] = postgresql_database("STAGING_DATABASE_URL")
