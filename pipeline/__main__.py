"""`pipeline` and `python -m pipeline`."""

from __future__ import annotations

import sys

from pipeline.cli import pipeline


def main() -> None:
    """Run the command line; `model.source` may name a module in the current folder."""
    sys.path.append("")
    pipeline(prog_name="pipeline")


if __name__ == "__main__":
    main()
