"""Errors in the user's words, and the exit codes that they end with.

0  done          2  wrong use, settings or data
1  a stage failed    3  a quality gate failed    130  interrupted
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, NoReturn

import click

from stages.errors import SettingsError, UserError, machine_error, redacted, shown

DEBUG = "debug"
"""Key of click's context under which it is remembered that tracebacks are wanted."""

INTERRUPTED = 130


class ErrorsToExitCodes(click.Group):
    """Prints what a command raises in the user's words and exits with its code."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        _print_anything()
        try:
            _require_output()
            return super().invoke(context)
        except UserError as error:
            _explain(context, error, error)
        except KeyboardInterrupt:
            click.echo("interrupted; what was done before stays", err=True)
            context.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if (known := _impossible_path(error) or machine_error(error)) is not None:
                _explain(context, known, error)
            _report_bug(context, error)


def _print_anything() -> None:
    """Let a terminal or file that lacks a character show its number instead of an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _require_output() -> None:
    """Refuse a closed standard output, as after `>&-`: the next open file would get its number."""
    if sys.stdout is None:
        raise SettingsError("standard output is closed", "to see nothing: > /dev/null")


def _impossible_path(error: Exception) -> SettingsError | None:
    """`error` in the user's words if a path that he gave can be that of no file."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
        return None
    return SettingsError(
        f"{os.strerror(error.errno)}: {shown(error.filename)}", "choose a path that can exist"
    )


def _explain(context: click.Context, error: UserError, cause: BaseException) -> NoReturn:
    _print_traceback(context, cause)
    _print_lines("error", error.message)
    _print_lines("hint", error.hint)
    context.exit(error.exit_code)


def _print_lines(kind: str, text: str) -> None:
    for line in text.splitlines():
        click.echo(f"{kind}: {redacted(line)}", err=True)


def _print_traceback(context: click.Context, error: BaseException) -> None:
    if context.meta.get(DEBUG):
        import traceback

        click.echo(redacted("".join(traceback.format_exception(error))), err=True)


def _report_bug(context: click.Context, error: Exception) -> NoReturn:
    _print_traceback(context, error)
    log = getattr(error, "log", None)
    what = str(error) if log else f"{type(error).__name__}: {error}"
    _print_lines("error", f"this is a bug, please report it: {what}".splitlines()[0])
    _print_lines("hint", f"what the stage printed: {log}" if log else "")
    if not context.meta.get(DEBUG):
        _print_lines("hint", "for the traceback: the same command with --debug")
    context.exit(1)
