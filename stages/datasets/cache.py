"""The cache folder of data sets, for what took long to download or decode."""

from __future__ import annotations

import os
from pathlib import Path

from stages.errors import DataError

MOVE = "keep it elsewhere: set the environment variable XDG_CACHE_HOME"


def folder() -> Path:
    """`$XDG_CACHE_HOME/keras-trt-pipeline`, by default in ~/.cache. All in it may be deleted.

    Raises DataError if it cannot be made.
    """
    # As the XDG Base Directory Specification says; a relative path is to be ignored.
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = home if home.is_absolute() else Path.home() / ".cache"
    path = home / "keras-trt-pipeline"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"the cache folder {path} cannot be made ({error})", MOVE) from error
    return path
