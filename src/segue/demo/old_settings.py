"""A project as of VILLEN 1.0.0: the settings that SEGUE_DEMO_NEWER names, with fewer migrations on disk.

The package that MIGRATION_MODULES names is written by `project.py`; it holds what 1.0.0 had.
"""

import os
from importlib import import_module

_newer = import_module(os.environ["SEGUE_DEMO_NEWER"])
globals().update({name: getattr(_newer, name) for name in dir(_newer) if name.isupper()})

MIGRATION_MODULES = {**getattr(_newer, "MIGRATION_MODULES", {}), "music": "music_1_0_0"}
