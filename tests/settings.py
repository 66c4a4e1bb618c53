"""Django settings of the tests; the `project` fixture fills the databases in."""

SECRET_KEY = "tests"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "segue", "tests.shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
_POSTGRESQL = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "unset",
    "USER": "postgres",
    "HOST": "127.0.0.1",
}
DATABASES = {"default": {**_POSTGRESQL}, "stock": {**_POSTGRESQL}}
SEGUE = {"LOCK_DEADLINE": "20s", "RUNNER_WAIT": "1s"}
