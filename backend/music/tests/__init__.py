"""Runs on SQLite as ``manage.py test``; on PostgreSQL with ``--settings core.settings.production``."""
