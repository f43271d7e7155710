"""Tables as CSV for spreadsheets: UTF-8 with its mark, semicolons, and nothing that a spreadsheet would calculate.

Spec: RFC 4180; the semicolon is what Danish spreadsheets expect.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def write_csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Return the file; a text that begins like a formula gets an apostrophe in front, since others wrote it."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow(head)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue().encode("utf-8-sig")


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
