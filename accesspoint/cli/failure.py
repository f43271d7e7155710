"""From an exception to words and an exit status: where every verb ends that does not end well."""

import errno
import os
import sys
import traceback
from pathlib import Path
from typing import Final

from accesspoint.api.client import ApiProblem, NodeUnreachable
from accesspoint.config import ConfigurationProblem
from accesspoint.demo.processes import NotStarted
from accesspoint.problems import ExitStatus, ProblemRaised, find_problem
from accesspoint.process import ProcessUnsafe
from accesspoint.store.columns import ColumnKeyMissing
from accesspoint.store.database import StorageError, StorageRefused
from keys.errors import KeysError

_PACKAGE: Final = Path(__file__).parents[1]


def explain(error: BaseException) -> tuple[str, int]:
    """The text for standard error, ending in a line end, and the exit status."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        # Whoever read our output went away. Nothing can be told, not even when Python flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return "", ExitStatus.FAILED
    text, status = _explain(error)
    return f"{text}\n", status


def _explain(error: BaseException) -> tuple[str, int]:
    match error:
        case ConfigurationProblem():
            return error.render(), ExitStatus.CONFIGURATION
        case ProblemRaised():
            return error.render(), error.exit_status
        case KeysError():
            return f"{error}\n  Nothing was started.", ExitStatus.TRUST
        case StorageError():
            refused = isinstance(error, (StorageRefused, ColumnKeyMissing))
            slug = "storage-refused" if refused else "storage-failed"
            in_use = slug == "storage-refused" and str(error).startswith("another process has ")
            return _problem("storage-in-use" if in_use else slug, str(error))
        case NodeUnreachable():
            hint = "  do: accesspoint dev   (or give --config of a node that runs)"
            return f"{error}\n{hint}", ExitStatus.UNREACHABLE
        case ProcessUnsafe():
            return f"{error}\n  Nothing was started.", ExitStatus.USAGE
        case NotStarted():
            return str(error), ExitStatus.NOT_READY
        case ApiProblem():
            return f"the node answered {error.status}: {error}", ExitStatus.FAILED
        case OSError():
            what = error.strerror or type(error).__name__
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{what}", ExitStatus.FAILED
        case _:
            return _problem("internal", f"{type(error).__name__} at {_place(error)}")


def _problem(slug: str, detail: str) -> tuple[str, int]:
    problem = find_problem(slug)
    return problem.render(detail=detail), problem.exit_status


def _place(error: BaseException) -> str:
    """The last line of ours that the exception passed: enough to report it, and never a value."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _PACKAGE in Path(frame.filename).parents]
    frame = (ours or frames)[-1:]
    return f"{Path(frame[0].filename).name}:{frame[0].lineno}" if frame else "an unknown place"
