"""VILLEN Music: users, songs, playlists and listening analytics."""
