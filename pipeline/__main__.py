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
    try:
        pipeline(prog_name="pipeline")
    finally:
        # Nor may Python look through all of it a last time before it ends.
        gc.freeze()


if __name__ == "__main__":
    main()
