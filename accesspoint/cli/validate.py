"""`accesspoint validate`: a message held against the named rules, in words."""

import json
import sys
from typing import Final

from accesspoint.cli.given import find_width, name_of, read_given
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
        data = read_given(file, most=DEFAULT_LIMITS.sbd_bytes)
    except OSError as error:
        sys.stderr.write(f"{file} cannot be read: {error.strerror}\n")
        return ExitStatus.FAILED
    report = build_message_report(data, name=name_of(file), strict=not received)
    if format_ == "json":
        sys.stdout.write(json.dumps(message_to_json(report), ensure_ascii=False, indent=2) + "\n")
    else:
        width, colour = find_width()
        sys.stdout.write(render_message_text(report, width=width, colour=colour))
    return ExitStatus.REFUSED if report.mark is Mark.BROKEN else ExitStatus.OK
