"""The public projects whose migrations are walked: what is installed, and what their code expects of rows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

CACHE = Path(sys.prefix) / "histories"
Make = Callable[[int], Any]


@dataclass(frozen=True, kw_only=True)
class History:
    """One project: what pip installs without dependencies, INSTALLED_APPS after Django's own, and settings.

    `apps` are the labels whose migrations are counted as the project's. `values` makes what a column needs so that
    the project's own code understands the row: "table.column" and a number. `permissions` says whether Django makes
    permissions after each migration, which it cannot where an old model gives one a name that Django now gives
    itself. New code writes nothing after those migrations that are `continued` by the next one, whose code expects
    just what theirs has made.
    """

    name: str
    package: str
    requirements: tuple[str, ...]
    installed: tuple[str, ...]
    apps: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    context_processors: tuple[str, ...] = ()
    values: Mapping[str, Make] = field(default_factory=dict)
    permissions: bool = True
    continued: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where it is installed, apart from what Segue's own tests run with."""
        return CACHE / self.name

    @property
    def result(self) -> Path:
        """Where the result of its last walk is kept."""
        return CACHE / f"{self.name}.json"

    def install(self) -> None:
        """Install what is missing and let this process import it, after everything that it has already."""
        CACHE.mkdir(exist_ok=True)
        wanted = "\n".join((self.package, *self.requirements))
        installed = self.folder / "installed.txt"
        with FileLock(CACHE / f"{self.name}.lock"):
            if not installed.exists() or installed.read_text(encoding="utf-8") != wanted:
                options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade", "--target"]
                command = [sys.executable, "-m", "pip", "install", *options, str(self.folder), *wanted.splitlines()]
                subprocess.run(command, check=True)
                installed.write_text(wanted, encoding="utf-8")
        sys.path.append(str(self.folder))


_OAUTH = History(
    name="oauth",
    package="django-oauth-toolkit==3.0.1",
    requirements=(
        "certifi==2026.10.18",
        "cffi==2.1.1",
        "charset_normalizer==3.5.2",
        "cryptography==50.0.2",
        "idna==3.20",
        "jwcrypto==1.6.1",
        "oauthlib==4.0.1",
        "pycparser==3.12",
        "requests==2.34.2",
        "urllib3==2.8.0",
    ),
    installed=("oauth2_provider",),
    apps=("oauth2_provider",),
)

_HELPDESK = History(
    name="helpdesk",
    package="django-helpdesk==2.6.1",
    requirements=(
        "beautifulsoup4==4.15.0",
        "certifi==2026.10.18",
        "charset_normalizer==3.5.2",
        "django_cleanup==9.0.0",
        "django_model_utils==5.0.0",
        "djangorestframework==3.18.3",
        "email_reply_parser==0.5.12",
        "idna==3.20",
        "markdown==3.11.3",
        "nh3==0.3.8",
        "oauthlib==4.0.1",
        "requests==2.34.2",
        "requests_oauthlib==2.0.0",
        "soupsieve==4.1.2",
        "urllib3==2.8.0",
    ),
    installed=("django.contrib.sites", "helpdesk"),
    apps=("helpdesk",),
    settings={"SITE_ID": 1, "HELPDESK_TEAMS_MODEL": "auth.Group", "HELPDESK_TEAMS_MIGRATION_DEPENDENCIES": []},
)


def _nothing(_: int) -> None:
    return None


def _roots(table: str) -> dict[str, Make]:
    """Make every row of a tree the root of one of its own, in both forms that the project has had for trees."""
    kept: dict[str, Make] = {
        "parent_id": _nothing,
        "tree_id": lambda n: n,
        "level": lambda _: 0,
        "lft": lambda _: 1,
        "rght": lambda _: 2,
        "path": "{:04}".format,
        "depth": lambda _: 1,
        "numchild": lambda _: 0,
    }
    return {f"{table}.{column}": make for column, make in kept.items()}


_CMS = History(
    name="cms",
    package="django-cms==4.1.6",
    requirements=(
        "django_classy_tags==4.1.0",
        "django_formtools==2.7",
        "django_sekizai==4.1.0",
        "django_treebeard==4.8.0",
        "djangocms_admin_style==3.3.1",
        "packaging==26.3",
    ),
    installed=("django.contrib.admin", "django.contrib.sites", "cms", "menus", "treebeard", "sekizai"),
    apps=("cms",),
    permissions=False,
    continued=("cms.0018_create_pagenode",),
    values={
        **_roots("cms_page"),
        **_roots("cms_cmsplugin"),
        **_roots("cms_treenode"),
        "cms_page.publisher_is_draft": lambda _: True,
        "cms_page.publisher_public_id": _nothing,
        # A plugin is of one kind only, and goes with what it refers to.
        "cms_aliaspluginmodel.alias_placeholder_id": _nothing,
        "cms_placeholderreference.placeholder_ref_id": _nothing,
    },
    context_processors=("sekizai.context_processors.sekizai", "cms.context_processors.cms_settings"),
    settings={
        "SITE_ID": 1,
        "LANGUAGE_CODE": "en",
        "LANGUAGES": [("en", "English")],
        "CMS_CONFIRM_VERSION4": True,
        "CMS_TEMPLATES": [("page.html", "Page")],
    },
)

_RESULTS = History(
    name="results",
    package="django-celery-results==2.6.0",
    requirements=(
        "amqp==5.4.2",
        "billiard==4.3.2",
        "celery==5.7.0",
        "click==8.5.1",
        "click_didyoumean==0.3.1",
        "click_plugins==1.1.1.2",
        "click_repl==0.4.1",
        "kombu==5.7.0",
        "packaging==26.3",
        "prompt_toolkit==3.0.53",
        "python_dateutil==2.9.0.post0",
        "six==1.17.0",
        "tzlocal==5.4.5",
        "vine==5.1.0",
        "wcwidth==0.9.4",
    ),
    installed=("django_celery_results",),
    apps=("django_celery_results",),
)

_SOCIAL = History(
    name="social",
    package="social-auth-app-django==8.0.0",
    requirements=(
        "certifi==2026.10.18",
        "cffi==2.1.1",
        "charset_normalizer==3.5.2",
        "cryptography==50.0.2",
        "defusedxml==0.7.1",
        "idna==3.20",
        "oauthlib==4.0.1",
        "pycparser==3.12",
        "pyjwt==2.15.1",
        "python3_openid==3.2.0",
        "requests==2.34.2",
        "requests_oauthlib==2.0.0",
        "social_auth_core==7.0.0",
        "urllib3==2.8.0",
    ),
    installed=("social_django",),
    apps=("social_django",),
)

HISTORIES = {history.name: history for history in (_OAUTH, _RESULTS, _SOCIAL, _HELPDESK, _CMS)}
