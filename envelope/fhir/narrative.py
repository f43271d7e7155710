"""Narrative for the resources we make: a small table of labels and values in XHTML.

Every value is escaped. Resource ids and referenced ids are rendered too, as the profiles with narrative
obligations want.

Spec: medcom-fhir.md 8.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

from envelope import names


def narrative(title: str, rows: Sequence[tuple[str, object]]) -> dict[str, Any]:
    """Make a Narrative with a heading and one table row per label whose value is not None."""
    cells = "".join(
        f"<tr><td><b>{escape(label)}</b></td><td>{escape(str(value))}</td></tr>"
        for label, value in rows
        if value is not None
    )
    table = f"<table><tbody>{cells}</tbody></table>" if cells else ""
    return {
        "status": "generated",
        "div": f'<div xmlns="{names.XHTML}"><p><b>{escape(title)}</b></p>{table}</div>',
    }
