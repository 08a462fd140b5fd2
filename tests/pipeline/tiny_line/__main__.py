"""`python -m tiny_line MODULE ARGUMENTS`: the real command line on the tiny line, with the
stage module MODULE in the place of `copy`; `measures` and `disagrees` have lines of their own."""

from __future__ import annotations

import sys
from functools import partial

import tiny_line
from pipeline import commands, showing
from pipeline.cli import pipeline


def main() -> None:
    module = sys.argv.pop(1)
    own = {"measures": tiny_line.MEASURED, "disagrees": tiny_line.DISAGREES}
    plan = own.get(module) or tiny_line.plan_with_copy(f"tiny_line.{module}")
    names = {
        commands: ("run_stages", "show_plan", "show_status", "show_verification"),
        showing: ("show_report", "show_comparison"),
    }
    for module, functions in names.items():
        for name in functions:
            setattr(module, name, partial(getattr(module, name), plan=plan))
    pipeline(prog_name="pipeline")


if __name__ == "__main__":
    main()
