"""Small documents that are dear to read: what they cost may grow with their length, never with its square."""

import pytest
from cpu_time import cpu_time

from envelope import fhir
from envelope.errors import MimeInconsistency, SbdRefused
from envelope.sbd_splitter import SbdSplitter
from envelope.transfer_encoding import QuotedPrintableDecoder

CPU_SECONDS = 1.0


def test_long_run_of_blanks_in_quoted_printable() -> None:
    """White space at the end of a line is looked for from every place of the run: such a line is not begun with."""
    with (
        cpu_time() as spent,
        pytest.raises(MimeInconsistency, match=r"mime\.cte"),
    ):
        QuotedPrintableDecoder().update(b" " * 64 * 1024 + b"x\n")
    assert spent.seconds <= CPU_SECONDS


def test_comment_of_greater_than_signs_before_the_root() -> None:
    """Each `>` may end the tag after which base64 begins, and each made the whole prolog be looked at anew."""
    hostile = b"<!--BinaryContent" + b">" * 200_000 + b"--><StandardBusinessDocument/>"
    with cpu_time() as spent, pytest.raises(SbdRefused, match=r"sbd\.limits"):
        SbdSplitter().feed(hostile)
    assert spent.seconds <= CPU_SECONDS


def test_narratives_that_repeat_a_long_namespace() -> None:
    """A narrative is kept with the namespaces in sight: 5,000 of them made 250 MB of a message of 90 kB."""
    declared = f"xmlns='http://hl7.org/fhir' xmlns:h='http://www.w3.org/1999/xhtml' xmlns:x='u:{'x' * 50_000}'"
    hostile = f"<Bundle {declared}><foo>{'<h:div/>' * 5_000}</foo></Bundle>".encode()
    with cpu_time() as spent, pytest.raises(fhir.MessageRefused, match="message-elements"):
        fhir.read_message(hostile)
    assert spent.seconds <= CPU_SECONDS
