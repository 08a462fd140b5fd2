"""Options that several commands share, and where settings come from.

Only click is imported here: see pipeline/cli.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.completion import Setting
from pipeline.exit_codes import DEBUG
from stages.errors import redacted

if TYPE_CHECKING:
    from stages.settings import Settings

MOST_NAME_BYTES = 255

Command = TypeVar("Command", bound=Callable[..., Any])


def _remember_debug(context: click.Context, _: click.Parameter, is_on: bool) -> None:
    if is_on:
        context.meta[DEBUG] = True


def _show_version(context: click.Context, _: click.Parameter, is_on: bool) -> None:
    if not is_on or context.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"pipeline {version('keras-trt-pipeline')}")
    except PackageNotFoundError:
        click.echo("pipeline, from a source tree that is not installed")
    context.exit()


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_remember_debug,
    help="Show the traceback of an error.",
)
version_option = click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)


class Folder(click.Path):
    """A folder; the empty name, which would mean the current one, is refused."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: Any) -> Any:
        """The folder as a path."""
        if value == "":
            self.fail("the name of a folder is empty", parameter, context)
        if any(len(os.fsencode(name)) > MOST_NAME_BYTES for name in Path(value).parts):
            self.fail(f"file name too long: {str(value)[:40]}...", parameter, context)
        return super().convert(value, parameter, context)


artifacts_option = click.option(
    "--artifacts",
    type=Folder(file_okay=False, path_type=Path),
    default=Path("artifacts"),
    show_default=True,
    help="Folder of the artifacts.",
)


format_option = click.option(
    "--format", type=click.Choice(["table", "json"]), default="table", show_default=True
)


set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    type=Setting(),
    metavar="SECTION.KEY=VALUE",
    help="One setting, as in train.epochs=3; repeatable, wins over --config.",
)


def settings_options(command: Command) -> Command:
    """Add `--config` and `--set`."""
    command = set_option(command)
    return click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        help="Settings, a TOML file; without it pipeline.toml, where there is one.",
    )(command)


def read_settings(file: Path | None, overrides: Sequence[str], quiet: bool = False) -> Settings:
    """The settings of `file`, or of `pipeline.toml` where there is one, which is said on stderr.

    Raises SettingsError.
    """
    from pipeline import config

    if file is None and config.FILE.is_file():
        file = config.FILE
        if not quiet:
            click.echo(f"settings: {file}", err=True)
    return config.load(file, overrides)


def given(file: Path | None, overrides: Sequence[str]) -> tuple[str, ...]:
    """The options that settings were given with, without what an address can hide."""
    named = () if file is None else ("--config", str(file))
    return *named, *(redacted(word) for text in overrides for word in ("--set", text))
