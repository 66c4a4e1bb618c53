"""VILLEN on stock Django: the same project without Segue."""

from bench.settings_segue import *  # noqa: F403
from bench.settings_segue import INSTALLED_APPS as _WITH_SEGUE

INSTALLED_APPS = [app for app in _WITH_SEGUE if app != "segue"]
