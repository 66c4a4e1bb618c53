"""A project's own settings without Segue: the module named by SEGUE_DEMO_SETTINGS, on stock Django."""

import os
from importlib import import_module

_module = import_module(os.environ["SEGUE_DEMO_SETTINGS"])
globals().update({name: getattr(_module, name) for name in dir(_module) if name.isupper()})

INSTALLED_APPS = [app for app in _module.INSTALLED_APPS if app.partition(".")[0] != "segue"]
MIDDLEWARE = [layer for layer in _module.MIDDLEWARE if layer.partition(".")[0] != "segue"]
