"""Verifies the database after a migration: ``python manage.py shell < verify_migration.py``.

Exits with 1 if a check fails. VERIFY_DATABASE names another alias than ``default`` to look at.
"""

import os
import sys

from django.db import connections

from music.verification import report

sys.exit(report(connections[os.environ.get("VERIFY_DATABASE", "default")]))
