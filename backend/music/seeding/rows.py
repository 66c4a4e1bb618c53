"""Builds rows as tuples of text, one value per column, in batches. Touches no database.

Every choice comes from one ``Random``, so the same seed gives the same rows. Whole columns of a batch
are drawn at once, and values are text from the start: both are what makes a million rows cheap.
Text suits both engines: COPY reads it, and SQLite's column affinity turns it into numbers.
"""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import accumulate, product
from random import Random

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX

from . import vocabulary

BATCH_ROWS = 10_000

Row = tuple[str, ...]
Batch = list[Row]
Columns = dict[str, list[str]]
ColumnMaker = Callable[[Random, int, int], Columns]

# One value for everybody: nobody can log in with it, and nothing is hashed a million times.
PASSWORD = f"{UNUSABLE_PASSWORD_PREFIX}seeded"

_DAYS = [str(date(2019, 1, 1) + timedelta(days=number)) for number in range(5 * 365)]
_TIMES = [f"{hour:02}:{minute:02}:{second:02}" for hour, minute, second in product(range(24), range(60), (7, 41))]
_DURATIONS = [str(seconds) for seconds in range(95, 420)]

_NAMES = list(product(vocabulary.FIRST_NAMES, vocabulary.LAST_NAMES))
_SEPARATORS = ("", ".", "_")
_USERNAME_STEMS = [
    f"{first}{separator}{last}".lower().replace("'", "").replace("í", "i")
    for (first, last), separator in product(_NAMES, _SEPARATORS)
]

_ALBUMS = {
    language: [f"{opening} {ending}" for openings, endings in scripts for opening, ending in product(openings, endings)]
    for language, scripts in vocabulary.TITLE_WORDS.items()
}
_TITLES = {
    language: [f"{title}{suffix}" for title, suffix in product(titles, vocabulary.TITLE_SUFFIXES)]
    for language, titles in _ALBUMS.items()
}

# A few artists, of no particular name, have most of the songs.
_ARTISTS = [f"{first} {last}" for first, last in Random(0).sample(_NAMES, k=len(_NAMES))]
_ARTIST_WEIGHTS = list(accumulate(1 / rank for rank in range(1, len(_ARTISTS) + 1)))

_MOST_PLAYS = 4_000_000_000


def column_names(make_columns: ColumnMaker) -> list[str]:
    """The columns that a maker fills, in their order."""
    return list(make_columns(Random(0), 0, 0))


def batches(
    make_columns: ColumnMaker, columns: list[str], count: int, *, first_serial: int, seed: int
) -> Iterator[Batch]:
    """Yield ``count`` rows holding ``columns``, numbered upwards from ``first_serial``."""
    random = Random(f"{make_columns.__name__}:{seed}:{first_serial}")
    for start in range(0, count, BATCH_ROWS):
        size = min(BATCH_ROWS, count - start)
        made = make_columns(random, first_serial + start, size)
        yield list(zip(*(made[column] for column in columns), strict=True))


def user_columns(random: Random, first_serial: int, size: int) -> Columns:
    """Columns of music_user, those of v1.1 included. The serial in a username makes it unique."""
    names = random.choices(range(len(_USERNAME_STEMS)), k=size)
    serials = range(first_serial, first_serial + size)
    usernames = [f"{_USERNAME_STEMS[name]}{serial}" for name, serial in zip(names, serials, strict=True)]
    domains = random.choices(vocabulary.MAIL_DOMAINS, k=size)
    false, true = ["0"] * size, ["1"] * size
    return {
        "password": [PASSWORD] * size,
        "is_superuser": false,
        "username": usernames,
        "first_name": [_NAMES[name // len(_SEPARATORS)][0] for name in names],
        "last_name": [_NAMES[name // len(_SEPARATORS)][1] for name in names],
        "email": [f"{username}@{domain}" for username, domain in zip(usernames, domains, strict=True)],
        "is_staff": false,
        "is_active": true,
        "date_joined": _moments(random, size),
        "preferred_language": random.choices(vocabulary.PREFERRED_LANGUAGES, k=size),
        "audio_quality": random.choices(vocabulary.AUDIO_QUALITIES, k=size),
        "theme_preference": random.choices(vocabulary.THEMES, k=size),
    }


def song_columns(random: Random, first_serial: int, size: int) -> Columns:
    """Columns of music_song. Play counts follow a power law: most songs are hardly heard."""
    languages = random.choices(list(vocabulary.LANGUAGE_WEIGHTS), list(vocabulary.LANGUAGE_WEIGHTS.values()), k=size)
    serials = range(first_serial, first_serial + size)
    pareto = random.paretovariate
    created = _moments(random, size)
    return {
        "title": _one_of_each(random, _TITLES, languages),
        "artist": random.choices(_ARTISTS, cum_weights=_ARTIST_WEIGHTS, k=size),
        "album": _one_of_each(random, _ALBUMS, languages),
        "language": languages,
        "genre": random.choices(vocabulary.GENRES, k=size),
        "duration_seconds": random.choices(_DURATIONS, k=size),
        "audio_url": [f"https://cdn.villen.example/audio/{serial}.m4a" for serial in serials],
        "cover_url": [f"https://cdn.villen.example/cover/{serial}.webp" for serial in serials],
        "play_count": [str(min(int(pareto(0.6)) - 1, _MOST_PLAYS)) for _ in range(size)],
        "released_on": random.choices(_DAYS, k=size),
        "created_at": created,
        "updated_at": created,
    }


def _moments(random: Random, size: int) -> list[str]:
    days, times = random.choices(_DAYS, k=size), random.choices(_TIMES, k=size)
    return [f"{day} {time}" for day, time in zip(days, times, strict=True)]


def _one_of_each(random: Random, choices: dict[str, list[str]], keys: list[str]) -> list[str]:
    """For every key, one of its own choices."""
    draws = random.choices(range(2**16), k=len(keys))
    return [choices[key][draw % len(choices[key])] for key, draw in zip(keys, draws, strict=True)]
