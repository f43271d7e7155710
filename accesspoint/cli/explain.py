"""`accesspoint explain`: captured bytes as an annotated tree, with the verdict first."""

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from accesspoint.cli.given import find_width, name_of, read_given
from accesspoint.explain.means import build_means
from accesspoint.explain.page import render_html
from accesspoint.explain.report import Report, build_report, to_json
from accesspoint.explain.text import render_text
from accesspoint.problems import ExitStatus
from envelope.errors import RemoteProtocolError
from envelope.explain import Mark, read_sent
from keys.errors import KeysError

LARGEST: Final = 256 * 1024 * 1024
_STATUS: Final = {
    Mark.HOLDS: ExitStatus.OK,
    Mark.BROKEN: ExitStatus.REFUSED,
    Mark.UNSEEN: ExitStatus.USAGE,
}
_ID: Final = re.compile(r"[0-9A-Z]{26}|[0-9a-f-]{36}(?:@[A-Za-z0-9.-]+)?")
"""How exchanges, messages and MessageIds are named here."""
FORMATS: Final = ("text", "json", "html")


def run(
    file: str,
    *,
    key: Path | None,
    trust: Sequence[Path],
    against: Path | None,
    content_type: str | None,
    at: datetime | None,
    format_: str,
    show_payload: bool,
) -> int:
    """Explain one file, or what stands at standard input for `-`; the exit status."""
    if format_ not in FORMATS:
        sys.stderr.write(f"--format is one of {', '.join(FORMATS)}\n")
        return ExitStatus.USAGE
    try:
        data = read_given(file, most=LARGEST)
    except OSError as error:
        sys.stderr.write(f"{file} cannot be read: {error.strerror}\n")
        if isinstance(error, FileNotFoundError) and _ID.fullmatch(file):
            sys.stderr.write(
                f"  do: accesspoint messages show {file}   which tells of a message; this explains files\n"
            )
        return ExitStatus.FAILED
    try:
        sent = None if against is None else read_sent(read_given(str(against), most=LARGEST))
    except OSError as error:
        sys.stderr.write(f"{against} cannot be read: {error.strerror}\n")
        return ExitStatus.FAILED
    except RemoteProtocolError as refusal:
        sys.stderr.write(f"{against} is no signed message: {refusal.reason}\n")
        return ExitStatus.FAILED
    if len(data) > LARGEST:
        sys.stderr.write(f"{file} is larger than {LARGEST} octets\n")
        return ExitStatus.FAILED
    try:
        if at is not None and at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        means = build_means(key=key, trust=trust, at=at, sent=sent)
    except KeysError as error:
        sys.stderr.write(f"{error.detail}\n")
        return ExitStatus.TRUST
    report = build_report(
        data, means, name=name_of(file), content_type=content_type, show_payload=show_payload
    )
    sys.stdout.write(_render(report, format_))
    return _STATUS[report.mark]


def _render(report: Report, format_: str) -> str:
    if format_ == "json":
        return json.dumps(to_json(report), ensure_ascii=False, indent=2) + "\n"
    if format_ == "html":
        return render_html(report)
    width, colour = find_width()
    return render_text(report, width=width, colour=colour)
