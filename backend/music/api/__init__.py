"""The JSON API. Rules about rows belong to the models and playlists.py; this package speaks HTTP."""
