"""Segue takes a live Django database from one migration state to another, and back, and nobody notices.

Start at pipeline.py: one release's whole life on one screen.
"""

__version__ = "0.1.0"
