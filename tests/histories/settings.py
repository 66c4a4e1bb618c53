"""Django settings of one history, which the environment names; the walk fills the databases in."""

import os

from tests.histories.projects import HISTORIES

_HISTORY = HISTORIES[os.environ["SEGUE_HISTORY"]]

SECRET_KEY = "histories"
USE_TZ = True
PASSWORD_HASHERS = ["tests.histories.hashing.SameHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "segue",
    *_HISTORY.installed,
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                *_HISTORY.context_processors,
            ]
        },
    }
]
STATIC_URL = "/static/"
_POSTGRESQL = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "unset",
    "USER": "postgres",
    "HOST": "127.0.0.1",
}
DATABASES = {alias: {**_POSTGRESQL} for alias in ("default", "stock", "before", "probe")}
SEGUE = {"LOCK_DEADLINE": "20s", "RUNNER_WAIT": "1s"}
globals().update(_HISTORY.settings)
