"""The words of `pipeline search`; see pipeline/cli.py."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from pipeline.options import artifacts_option, debug_option, read_settings, settings_options
from stages.errors import SettingsError, redacted


@click.command()
@settings_options
@artifacts_option
@click.option("--trials", type=click.IntRange(1), help="Trials in all; search.trials.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="search.hours.")
@click.option("--workers", type=click.IntRange(1), help="Trials at a time; search.workers.")
@click.option("--cluster", metavar="ADDRESS", help="Ray's: auto or HOST:PORT. See docs/search.md.")
@click.option("--show", is_flag=True, help="Show what was found so far; search nothing.")
@click.option("--take", type=click.IntRange(0), metavar="N", help="Trial N becomes the artifacts.")
@click.option("--format", type=click.Choice(["table", "json"]), help="Of --show.")
@click.option("-q", "--quiet", is_flag=True, help="Show what was found only.")
@debug_option
def search(
    file: Path | None,
    overrides: tuple[str, ...],
    artifacts: Path,
    trials: int | None,
    hours: float | None,
    workers: int | None,
    cluster: str | None,
    show: bool,
    take: int | None,
    format: str | None,
    quiet: bool,
) -> None:
    """Look for the best engines for a budget, by measuring.

    Varies what [search] of the settings says, and goes on where an earlier
    search in the same folder ended. Needs Optuna:
    pip install optuna scikit-learn

    \b
    pipeline search --hours 1 --set search.max_accuracy_loss=0.5
    pipeline search --show
    pipeline search --take 7
    """
    if show and take is not None:
        raise SettingsError("got --show and --take, expected one of them", "leave one out")
    if format and not show:
        raise SettingsError("--format is for --show", "run: pipeline search --show --format json")
    from pipeline import search_commands

    given = {"trials": trials, "hours": hours, "workers": workers}
    extra = [name for name, value in {**given, "cluster": cluster}.items() if value is not None]
    if extra and (show or take is not None):
        raise SettingsError(f"--{extra[0]} is for a search; --show and --take search nothing")
    own = tuple(f"search.{key}={value}" for key, value in given.items() if value is not None)
    settings = read_settings(file, (*overrides, *own), quiet)
    if show:
        search_commands.show_search(artifacts, settings, format or "table")
    elif take is not None:
        search_commands.take_trial(artifacts, settings, take)
    else:
        command = redacted(shlex.join(["pipeline", *sys.argv[1:]]))
        search_commands.search(artifacts, settings, command, quiet, cluster)
