"""We hold every mandatory and preferred assertion that the kit can show, and the reports say so."""

import json
import re
from pathlib import Path

import pytest
from lxml import etree

from accesspoint.conformance import report_html, report_json, report_junit, report_markdown
from accesspoint.conformance.assertion import is_obliging
from accesspoint.conformance.case import Status, registered
from accesspoint.conformance.comparison import compare
from accesspoint.conformance.runner import Run, choose, run

from .conftest import BreakableTarget

pytestmark = pytest.mark.slow


async def test_we_are_conformant(ourselves: BreakableTarget, tmp_path: Path) -> None:
    whole = await run(ourselves, choose())
    assert whole.broken == ()
    for result in whole.results:
        if result.assertion.id in registered() and is_obliging(result.assertion):
            allowed = {Status.PASS} | (
                {Status.NOT_APPLICABLE} if result.assertion.group != "Common Profile" else set()
            )
            assert result.status in allowed, (result.assertion.id, result.reason)
            assert result.exchanged or result.status is not Status.PASS, result.assertion.id
        if result.status is not Status.PASS:
            assert result.reason, result.assertion.id
    check_reports(whole)


def check_reports(whole: Run) -> None:
    again = report_json.read(report_json.write(whole))
    assert compare(whole, again) == []
    for one, other in zip(whole.results, again.results, strict=True):
        assert [octets.body for octets in one.exchanged] == [o.body for o in other.exchanged]
    page = report_html.write(whole)
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", page), "the page needs another file"
    assert "<script" not in page
    suites = etree.fromstring(report_junit.write(whole).encode())
    assert len(suites.findall(".//testcase")) == len(whole.results)
    assert not suites.findall(".//failure")
    table = report_markdown.write(whole)
    for result in whole.results:
        assert f"| {result.assertion.id} |" in table
        assert f'id="{result.assertion.id}"' in page
    assert json.loads(report_json.write(whole))["counts"]["mandatory"]["pass"] >= 31
