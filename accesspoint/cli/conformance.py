"""`accesspoint conformance`: run the assertions with a line for each, list them, compare two runs."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from accesspoint import log
from accesspoint.cli.current import load_given
from accesspoint.cli.run import serve
from accesspoint.config_values import Address
from accesspoint.conformance import cases, report_html, report_json, report_junit, report_markdown
from accesspoint.conformance.assertion import Assertion, catalogue
from accesspoint.conformance.case import Result, Status, registered
from accesspoint.conformance.comparison import compare, render
from accesspoint.conformance.drivers import rehearse
from accesspoint.conformance.opening import open_target
from accesspoint.conformance.runner import Run, choose
from accesspoint.conformance.runner import run as run_cases
from accesspoint.problems import ExitStatus

_MARKS: Final = {Status.PASS: "✓", Status.FAIL: "✗", Status.ERROR: "✗"}
_REPORTS: Final = {
    "html": report_html.write,
    "json": report_json.write,
    "xml": report_junit.write,
    "md": report_markdown.write,
}


def run(target: str, only: list[str], report: Path | None, certificate: Path | None) -> int:
    """Run the chosen cases against a target, show each as it ends, write the reports; the exit status."""
    try:
        chosen = choose(only)
    except KeyError as unknown:
        sys.stderr.write(
            f"there is no assertion {unknown.args[0]}\n  see: accesspoint conformance list\n"
        )
        return ExitStatus.USAGE
    log.configure(level="critical")
    try:
        finished = asyncio.run(_run(target, chosen, certificate))
        sys.stdout.write(_summary(finished))
        if report is not None:
            report.mkdir(parents=True, exist_ok=True)
            for ending, write in _REPORTS.items():
                _write_report(report / f"report.{ending}", write(finished))
            sys.stdout.write(f"  report: {report / 'report.html'}\n")
    except OSError as error:
        sys.stderr.write(f"{error.filename or target}: {error.strerror or error}\n")
        return ExitStatus.USAGE
    return ExitStatus.OK if finished.is_judged and not finished.broken else ExitStatus.CONFORMANCE


def _write_report(path: Path, text: str) -> None:
    """Write a file for its owner alone: what a partner answered stands in it as it came."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)  # one of an earlier run may be open to others
        file.write(text)


async def _run(target: str, chosen: list[Assertion], certificate: Path | None) -> Run:
    async with open_target(target, certificate=certificate) as opened:
        opened.ask = _ask
        return await run_cases(opened, chosen, progress=_show)


def serve_behind_test_service(config: Path, test_service: str, listen: str) -> int:
    """Run a node whose applications are the test service, until it is asked to stop; the exit status."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        sys.stderr.write('write --listen as host:port, such as "127.0.0.1:8403"\n')
        return ExitStatus.USAGE
    configuration = load_given(config)
    log.configure(format=log.Format.JSON)
    address = Address(host.strip("[]"), int(port))
    node = rehearse(configuration, test_service=test_service, listen=address)
    return asyncio.run(serve(node, configuration.label))


def list_assertions(*, without_case: bool) -> int:
    """List the catalogue; the exit status."""
    cases.load()
    for assertion in catalogue().values():
        has_case = assertion.id in registered()
        if without_case and has_case:
            continue
        missing = "" if has_case else f"   (no case: {assertion.untestable or 'not yet'})"
        sys.stdout.write(
            f"  {assertion.id:<16} {assertion.level:<12} {assertion.role:<9} {assertion.text}{missing}\n"
        )
    return ExitStatus.OK


def compare_runs(before: Path, after: Path) -> int:
    """Show what differs between two runs; the exit status."""
    runs = []
    for path in (before, after):
        try:
            runs.append(report_json.read(path.read_bytes()))
        except OSError as error:
            sys.stderr.write(f"{path}: {error.strerror}\n")
            return ExitStatus.USAGE
        except ValueError as error:
            sys.stderr.write(f"{path}: {error}\n")
            return ExitStatus.USAGE
    changes = compare(runs[0], runs[1])
    sys.stdout.write(render(runs[0], runs[1], changes))
    return ExitStatus.CONFORMANCE if any(one.is_worse for one in changes) else ExitStatus.OK


def _show(done: int, total: int, result: Result) -> None:
    """One line per case; on a terminal, how far it is below it."""
    mark = _MARKS.get(result.status, "–")
    said = report_markdown.said(result)
    sys.stdout.write(f"  {mark} {result.assertion.id:<16} {result.status:<10} {said}\n")
    if sys.stderr.isatty():
        sys.stdout.flush()
        sys.stderr.write(f"  {done} of {total}\r")


def _ask(text: str) -> None:
    """What somebody has to do while the run waits."""
    sys.stdout.write(f"  … {text}\n")
    sys.stdout.flush()


def _summary(finished: Run) -> str:
    lines = [""]
    for level, counts in finished.counts().items():
        if counts:
            said = ", ".join(f"{count} {status}" for status, count in counts.items())
            lines.append(f"  {level:<12} {said}")
    lines.append(f"  {finished.verdict}.")
    return "\n".join(lines) + "\n"
