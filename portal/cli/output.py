"""How the command speaks: tables for people, JSON for machines, one line on stderr for errors.

Invariant: exit codes are 0 done, 1 ended without being done (only of what was waited for), 2 wrong usage or
refused, 3 unavailable, 4 stuck; stdout holds results only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from policy.errors import Busy, NeedsHuman, Refused, StepFailed, Unavailable

NOT_DONE, REFUSED, UNAVAILABLE, STUCK = 1, 2, 3, 4

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# Where nobody looks at a terminal, lines are not broken to fit one.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)


def answers(command: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Turn Freshet's errors into their exit code and their words on stderr."""

    @wraps(command)
    def answered(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except Refused as error:
            for finding in error.findings:
                complain(f"refused: {finding}")
            raise typer.Exit(REFUSED) from error
        except (Busy, Unavailable) as error:
            complain(str(error))
            raise typer.Exit(UNAVAILABLE) from error
        except (NeedsHuman, StepFailed) as error:
            complain(str(error))
            raise typer.Exit(STUCK) from error

    return answered


def complain(text: str) -> None:
    """Write one line to stderr."""
    sys.stderr.write(f"{text}\n")


def say(text: str) -> None:
    """Write one line for a person."""
    console.print(text, markup=False)


def show_json(value: object) -> None:
    """Write `value` as JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table; aligned columns without frames when nobody looks."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)
