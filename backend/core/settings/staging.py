"""Staging: hardened as production is. With only one of the two database URLs set, both aliases use it."""

from django.core.exceptions import ImproperlyConfigured

from .environment import is_set, postgresql_database
from .hardened import *

_given = [variable for variable in ("DATABASE_URL", "STAGING_DATABASE_URL") if is_set(variable)]
if not _given:
    raise ImproperlyConfigured("Set the DATABASE_URL or the STAGING_DATABASE_URL environment variable.")

DATABASES = {
    "default": postgresql_database(_given[0]),
    "staging": postgresql_database(_given[-1]),
}
