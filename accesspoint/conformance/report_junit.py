"""A run as JUnit XML, for build servers: one suite per group, what was not shown is skipped with its reason."""

from itertools import groupby
from typing import Final

from lxml import etree

from accesspoint.conformance.case import Result, Status
from accesspoint.conformance.runner import Run

_BROKEN: Final = {Status.FAIL: "failure", Status.ERROR: "error"}


def write(run: Run) -> str:
    """Return the run as JUnit XML."""
    root = etree.Element("testsuites", name=f"conformance of {run.target}")
    for group, results in groupby(run.results, key=lambda result: result.assertion.group):
        every = list(results)
        statuses = [result.status for result in every]
        suite = etree.SubElement(
            root,
            "testsuite",
            name=group,
            timestamp=run.at.isoformat(timespec="seconds"),
            tests=str(len(every)),
            failures=str(statuses.count(Status.FAIL)),
            errors=str(statuses.count(Status.ERROR)),
            skipped=str(sum(status not in {*_BROKEN, Status.PASS} for status in statuses)),
        )
        for result in every:
            _add(suite, result)
    return etree.tostring(root, pretty_print=True, xml_declaration=True, encoding="UTF-8").decode()


def _add(suite: "etree._Element", result: Result) -> None:
    assertion = result.assertion
    case = etree.SubElement(
        suite,
        "testcase",
        classname=f"{assertion.group} ({assertion.level})",
        name=f"{assertion.id}: {_clean(assertion.text)}",
        time=f"{result.seconds:.3f}",
    )
    if result.status in _BROKEN:
        said = result.reason or f"expected {result.expected}; seen {result.seen}"
        etree.SubElement(case, _BROKEN[result.status], message=_clean(said))
    elif result.status is not Status.PASS:
        etree.SubElement(case, "skipped", message=_clean(f"{result.status}: {result.reason}"))


def _clean(text: str) -> str:
    """Text that XML can carry: what a partner answered may hold anything."""
    return "".join(one if one.isprintable() else "?" for one in text)
