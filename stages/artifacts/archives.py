"""What reading a zip archive, as `.npz` files and bundles are, raises where it is none."""

from __future__ import annotations

import zipfile
import zlib

DAMAGED = (OSError, EOFError, RuntimeError, ValueError, zlib.error, zipfile.BadZipFile)
"""It may be damaged, encrypted (RuntimeError), or say that it is compressed in a way, or is of a
version, that is not known (NotImplementedError, which is a RuntimeError)."""
