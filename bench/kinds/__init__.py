"""Kinds of schema change, forth and back, on one large table under traffic of both versions; start at `command`.

`changes` and `operations` say what the kinds are, `by_hand_scripts` what an expert would write for each, `trial` what
happens in one trial, `tables` what trials add up to. Light to import: every process of the shop does.
"""

MOOD = "unknown"  # a song's, where it is required and nobody has said
