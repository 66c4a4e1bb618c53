"""The Django project: settings, URLs and server entry points. Knows nothing about music."""
