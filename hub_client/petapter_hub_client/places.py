"""Where the client keeps its files: the configuration and the cache directory, and the variables that move them."""

import os
from pathlib import Path

from platformdirs import user_cache_path, user_config_path

CONFIG_VARIABLE = "PETAPTER_CONFIG_DIR"
CACHE_VARIABLE = "PETAPTER_CACHE_DIR"


def config_directory() -> Path:
    """Holds remotes.json and tokens.json; not made here."""
    given = os.environ.get(CONFIG_VARIABLE)
    return Path(given).expanduser() if given else user_config_path("petapter")


def cache_directory() -> Path:
    """Holds pulled modules and built backbones, all of which can be fetched again; not made here."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser() if given else user_cache_path("petapter")
