"""The words of the commands that show results of past runs; see pipeline/cli.py."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.options import artifacts_option, debug_option, format_option


@click.command()
@click.option(
    "--format",
    type=click.Choice(["table", "md", "html", "json", "csv"]),
    help="Default: what the ending of --output says, else table.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file.")
@artifacts_option
@debug_option
def report(format: str | None, output: Path | None, artifacts: Path) -> None:
    """Show the results; nothing is computed again.

    \b
    pipeline report
    pipeline report --format csv
    pipeline report --output results.html
    """
    from pipeline import showing

    showing.show_report(artifacts, format, output)


@click.command()
@click.argument("run_a")
@click.argument("run_b")
@click.option(
    "--format",
    type=click.Choice(["table", "md", "json"]),
    help="Default: what the ending of --output says, else table.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file.")
@artifacts_option
@debug_option
def compare(
    run_a: str, run_b: str, format: str | None, output: Path | None, artifacts: Path
) -> None:
    """Show how two runs differ, and how certainly.

    A run is an artifact folder, a report.json, or an id of `pipeline history`
    (looked up in the folder of --artifacts). RUN_B is described as against RUN_A.

    \b
    pipeline compare artifacts other/artifacts
    pipeline compare before.json artifacts --format md
    pipeline compare 3f9c2a51 b07d11e8
    """
    from pipeline import showing

    showing.show_comparison((run_a, run_b), artifacts, format, output)


@click.command()
@format_option
@artifacts_option
@debug_option
def history(format: str, artifacts: Path) -> None:
    """Show the runs so far and what changed.

    Every run that did something adds a line to history.jsonl in the artifact folder.

    \b
    pipeline history
    pipeline history --format json --artifacts other/artifacts
    """
    from pipeline import showing

    showing.show_history(artifacts, format)
