"""`pipeline` and `python -m pipeline`."""

from __future__ import annotations

import gc
import os
import sys

from pipeline.cli import pipeline


def main() -> None:
    """Run the command line; `model.source` may name a module in the current folder."""
    sys.path.append("")
    # Importing allocates much and frees nothing: by default that is looked through again and again.
    gc.set_threshold(100_000)
    # Looking through every installed package for plugins of pydantic takes longer than all of our
    # settings; none is used here.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    pipeline(prog_name="pipeline")


if __name__ == "__main__":
    main()
