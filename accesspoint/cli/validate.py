"""`accesspoint validate`: a message held against the named rules, in words."""

import json
import shutil
import sys
from pathlib import Path
from typing import Final

from accesspoint.explain.message import (
    build_message_report,
    message_to_json,
    render_message_text,
)
from accesspoint.problems import ExitStatus
from envelope.explain import Mark
from envelope.limits import DEFAULT_LIMITS

_FORMATS: Final = ("text", "json")


def run(file: str, *, received: bool, format_: str) -> int:
    """Validate one file, or what stands at standard input for `-`; the exit status."""
    if format_ not in _FORMATS:
        sys.stderr.write(f"--format is one of {', '.join(_FORMATS)}\n")
        return ExitStatus.USAGE
    try:
        data = _read(file)
    except OSError as error:
        sys.stderr.write(f"{file} cannot be read: {error.strerror}\n")
        return ExitStatus.FAILED
    name = "standard input" if file == "-" else Path(file).name
    report = build_message_report(data, name=name, strict=not received)
    if format_ == "json":
        sys.stdout.write(json.dumps(message_to_json(report), ensure_ascii=False, indent=2) + "\n")
    else:
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if terminal else 100
        sys.stdout.write(render_message_text(report, width=width, colour=terminal))
    return ExitStatus.REFUSED if report.mark is Mark.BROKEN else ExitStatus.OK


def _read(file: str) -> bytes:
    most = DEFAULT_LIMITS.sbd_bytes + 1
    if file == "-":
        return sys.stdin.buffer.read(most)
    with Path(file).open("rb") as opened:
        return opened.read(most)
