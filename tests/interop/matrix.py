"""The interop matrix: run every test that claims a cell, and write what came of it as HTML and Markdown.

    python -m tests.interop.matrix [--output FOLDER] [pytest arguments]

The files are `interop-matrix.html` and `interop-matrix.md` in `build/` unless told otherwise; the exit status is that
of the tests. A cell is green when all tests that claim it hold, red when one fails, grey when it could not be run;
every red or grey cell carries its reason.
"""

import argparse
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
from lxml import etree

from tests.interop.matrix_page import Matrix, write_html, write_markdown
from tests.support.interop_cells import Cell, Collector, Direction, Outcome, Verdict

ROOT = Path(__file__).parents[2]
NOT_TO_BE_HAD = {
    "Holodeck B2B": (
        "cannot be started from what the package registries hold (tried on 2026-11-21: no artifact of org.holodeckb2b"
        " in Maven's central repository, neither core, interfaces, ebms3as4 nor the distribution; no package for"
        " Debian, Python or Node; its POM names no repository; the distribution is offered as a download only)"
    )
}
"""Peers with whom no live exchange can be played here, and why: grey cells, since no test could say anything else."""


def facts() -> dict[str, str]:
    """What each peer is, from the files that say which one is built or installed."""
    pom = etree.parse(ROOT / "tests" / "interop" / "phase4" / "pom.xml").getroot()
    maven = {element.tag.rpartition("}")[2]: element.text for element in pom.iter(etree.Element)}
    jars = (ROOT / "tests" / "interop" / "phase4" / "target" / "lib").glob("*.jar")
    built = [jar.stem for jar in sorted(jars) if jar.stem.startswith(("wss4j-", "xmlsec-"))]
    packages = (ROOT / "tests" / "interop" / "pypi_as4" / "requirements.txt").read_text("utf-8")
    captured = "messages that it really sent, kept by other projects; ✓ says that we judge each as expected"
    return {
        **dict.fromkeys(
            ("AS4.NET", "Dataport", "Domibus", "Flame", "Holodeck B2B", "n/software"), captured
        ),
        "PyPI as4": f"{packages.splitlines()[0].replace('==', ' ')} (Python), a process in an environment of its own",
        "WSS4J": f"{', '.join(built) or 'not built'} (Java), a process of its own with nothing around it",
        "phase4": f"phase4-lib {maven['phase4.version']} (Java), a process of its own",
        "xmlsec": f"xmlsec {version('xmlsec')} (libxmlsec1, C), in the test's process",
        "signxml": f"signxml {version('signxml')} (Python), in the test's process",
    }


def not_to_be_had() -> dict[Cell, Verdict]:
    """The grey cells of the peers that cannot be had, one for each direction."""
    return {
        Cell(peer, "eDelivery AS4 1.15", direction, "live exchange"): Verdict(
            {"no test": Outcome.NOT_RUN}, [reason]
        )
        for peer, reason in NOT_TO_BE_HAD.items()
        for direction in Direction
    }


def main(arguments: list[str]) -> int:
    """Run the tests and write both files; the exit status of pytest."""
    parser = argparse.ArgumentParser(prog="python -m tests.interop.matrix")
    parser.add_argument("--output", type=Path, default=ROOT / "build")
    known, further = parser.parse_known_args(arguments)
    collector = Collector()
    status = pytest.main(
        ["-m", "matrix", "-q", "--rootdir", str(ROOT), *further, str(ROOT / "tests" / "interop")],
        plugins=[collector],
    )
    if not collector.cells:
        return int(status) or 1
    cells = {**not_to_be_had(), **collector.cells}
    matrix = Matrix(cells, facts(), datetime.now(UTC))
    known.output.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("interop-matrix.html", write_html(matrix)),
        ("interop-matrix.md", write_markdown(matrix)),
    ):
        (known.output / name).write_text(text, "utf-8")
        sys.stdout.write(f"{known.output / name}: {matrix.summary()}\n")
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
