"""The command line: its words, and which function of pipeline/commands.py does what they ask.

Only click is imported here; `--help` must not pay for what the commands need.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from pipeline import cli_results, cli_search
from pipeline.completion import Stage
from pipeline.exit_codes import ErrorsToExitCodes
from pipeline.options import (
    artifacts_option,
    debug_option,
    format_option,
    given,
    read_settings,
    set_option,
    settings_options,
    version_option,
)
from stages.errors import SettingsError, redacted


@click.group(cls=ErrorsToExitCodes, context_settings={"help_option_names": ["-h", "--help"]})
@version_option
@debug_option
def pipeline() -> None:
    """Keras CNN in; small, fast, measured TensorRT and CPU engines out.

    \b
    pipeline init               settings that suit a model and images, to start with
    pipeline run all            every stage, from the Keras model to measured engines
    pipeline search             the best engines for a budget, found by measuring
    pipeline status             what is fresh, what is stale and why
    pipeline report             the results once more
    pipeline compare A B        two runs, and how certain each difference is
    pipeline history            the runs so far

    Completion of words with TAB, here for bash (zsh and fish alike):

    \b
    eval "$(_PIPELINE_COMPLETE=bash_source pipeline)"
    """


@pipeline.command()
@click.argument("words", nargs=-1, metavar="[MODEL] [DATA]")
@set_option
@artifacts_option
@debug_option
def init(words: tuple[str, ...], overrides: tuple[str, ...], artifacts: Path) -> None:
    """Look at a model and images, and write pipeline.toml.

    MODEL: a .keras or .h5 file, module:function, or the name of a network;
    without it, one of our own that suits the images. DATA: a folder with
    train/<class>/* and test/<class>/*, a .csv of images and labels, an .npz
    file or its address, or the name of a data set; without it, digits. No
    file is ever overwritten. --set says where the data are, as in
    --set data.label_column=kind.

    \b
    pipeline init network.keras photos
    pipeline run all
    """
    from pipeline import commands

    commands.write_first_settings(words, artifacts, overrides)


class RunCommand(click.Command):
    """Names the stages of the plan in its help, which alone pays for reading the plan."""

    def format_help_text(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description."""
        from pipeline.core.plan import PLAN

        names = ", ".join(stage.name for stage in PLAN)
        self.help = (self.help or "").replace("STAGE_NAMES", names)
        super().format_help_text(context, formatter)


@pipeline.command(cls=RunCommand)
@click.argument("stages", nargs=-1, metavar="STAGES...", type=Stage("all", "report"))
@settings_options
@artifacts_option
@click.option("--force", is_flag=True, help="Run stages that are fresh as well.")
@click.option(
    "--from", "first", type=Stage(), metavar="STAGE", help="Leave out the stages before this one."
)
@click.option(
    "--to", "last", type=Stage(), metavar="STAGE", help="Leave out the stages after this one."
)
@click.option("--dry-run", is_flag=True, help="Show what would run, and why; write nothing.")
@click.option(
    "--max-accuracy-drop",
    metavar="POINTS",
    help="Exit with code 3 if the fastest engine loses more percentage points of top-1 "
    "accuracy against the trained model.",
)
@click.option(
    "--strict-parity",
    is_flag=True,
    help="Exit with code 3 if a graph or engine does not compute what the Keras model computes.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show the verdict and errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Show all that the stages print.")
@click.option("--format", type=click.Choice(["table", "json"]), help="Of --dry-run.")
@debug_option
def run(
    stages: tuple[str, ...],
    file: Path | None,
    overrides: tuple[str, ...],
    artifacts: Path,
    force: bool,
    first: str | None,
    last: str | None,
    dry_run: bool,
    max_accuracy_drop: str | None,
    strict_parity: bool,
    quiet: bool,
    verbose: bool,
    format: str | None,
) -> None:
    """Run the line, or some stages of it.

    STAGES: all, or some of STAGE_NAMES; or report, which only draws the
    reports anew. A stage that is fresh is skipped.
    """
    if not stages and first is None and last is None:
        raise SettingsError("no stage given", "run: pipeline run all")
    if quiet and verbose:
        raise SettingsError("got --quiet and --verbose, expected one of them", "leave one out")
    if format and not dry_run:
        raise SettingsError(
            "--format is for --dry-run", "results: pipeline report --format json, after the run"
        )
    from pipeline import commands

    if max_accuracy_drop is not None:
        overrides = (*overrides, f"gates.max_accuracy_drop={max_accuracy_drop}")
    if strict_parity:
        overrides = (*overrides, "gates.parity=true")
    settings = read_settings(file, overrides, quiet)
    request = commands.RunRequest(
        stages,
        artifacts,
        first,
        last,
        force,
        command=redacted(shlex.join(["pipeline", *sys.argv[1:]])),
        options=given(file, overrides),
        detail="quiet" if quiet else "verbose" if verbose else "normal",
    )
    if dry_run:
        commands.show_plan(request, settings, format or "table")
    else:
        commands.run_stages(request, settings)


@pipeline.command()
@settings_options
@artifacts_option
@format_option
@debug_option
def status(file: Path | None, overrides: tuple[str, ...], artifacts: Path, format: str) -> None:
    """Show what is fresh, stale (and why) or missing.

    If the last run was given other settings with --config and --set, they are
    shown too.
    """
    from pipeline import commands

    settings = read_settings(file, overrides)
    commands.show_status(artifacts, settings, format, given(file, overrides))


@pipeline.command()
@artifacts_option
@debug_option
def verify(artifacts: Path) -> None:
    """Check every byte that was recorded.

    Says which command renews what is damaged; exit code 1 if anything is.
    """
    from pipeline import commands

    commands.show_verification(artifacts)


@pipeline.command()
@click.option("--to", type=click.Path(path_type=Path), required=True, help="What to write; new.")
@click.option("--engine", metavar="NAME", help="As in litert.int8; default: what build chose.")
@click.option("--batch-size", type=int, help="Take what build chose for this batch size.")
@click.option(
    "--format",
    type=click.Choice(["folder", "zip", "triton"]),
    default="folder",
    show_default=True,
    help="triton: a model repository of NVIDIA Triton.",
)
@artifacts_option
@debug_option
def export(
    to: Path, engine: str | None, batch_size: int | None, format: str, artifacts: Path
) -> None:
    """Take an engine home in a bundle.

    A folder or zip archive with all that a program needs to use it.

    \b
    pipeline export --to digits
    pipeline export --to digits.zip --format zip --engine onnxruntime.int8
    pipeline export --to models --format triton
    """
    from pipeline import bundle_commands

    bundle_commands.export_engine(to, engine, batch_size, format, artifacts)


@pipeline.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="FILES...")
@click.option("--top", type=click.IntRange(1), help="Classes shown; default: 3.")
@click.option(
    "--format", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True
)
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also write answers.csv, and masks as PNG, to this new folder.",
)
@click.option("--palette", is_flag=True, help="Give the masks of --to a colour for each class.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@debug_option
def predict(
    bundle: Path,
    images: tuple[str, ...],
    top: int | None,
    format: str,
    to: Path | None,
    palette: bool,
    batch_size: int,
) -> None:
    """Show what the engine of a bundle says of files.

    FILES: images, .npy and .npz arrays, folders, or - for a list of names on
    standard input. One that cannot be read is told, and the exit code is 1.

    \b
    pipeline predict digits photo.png
    pipeline predict digits photos --format csv --top 1
    pipeline predict cells photos --to masks --palette
    """
    from pipeline import bundle_commands

    request = bundle_commands.PredictRequest(bundle, images, format, batch_size, top, to, palette)
    bundle_commands.show_predictions(request)


@pipeline.command(name="compare-devices")
@settings_options
@artifacts_option
@debug_option
def compare_devices(file: Path | None, overrides: tuple[str, ...], artifacts: Path) -> None:
    """Show how fast the CPU and every GPU train."""
    from pipeline import commands

    commands.show_devices(artifacts, read_settings(file, overrides))


@pipeline.command(name="config")
@settings_options
@click.option("--schema", is_flag=True, help="Show the JSON Schema of the settings instead.")
@debug_option
def show_config(file: Path | None, overrides: tuple[str, ...], schema: bool) -> None:
    """Show the effective settings, as a file that --config reads."""
    from pipeline import commands

    if schema:
        commands.show_schema()
    else:
        commands.show_settings(read_settings(file, overrides))


@pipeline.command()
@format_option
@debug_option
def doctor(format: str) -> None:
    """Show what can be built and run on this machine."""
    from pipeline import commands

    commands.show_machine(format)


for command in (cli_results.report, cli_results.compare, cli_results.history, cli_search.search):
    pipeline.add_command(command)
