"""Production-like rows in bulk: words (vocabulary), rows made of them (rows), and their way in (load)."""
