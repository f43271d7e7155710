"""A run as JSON: the form that other programs read, and that two runs are compared in. Octets are base64."""

import base64
import json
from datetime import datetime
from typing import Any, Final

from accesspoint.conformance.assertion import catalogue
from accesspoint.conformance.case import Result, Status
from accesspoint.conformance.recorder import Direction, Octets
from accesspoint.conformance.runner import Run

FORMAT: Final = "accesspoint-conformance-1"
DISCLAIMER: Final = (
    "A self-test with the published assertions. It is not an accreditation by anybody."
)


def write(run: Run) -> str:
    """Return the run as JSON text."""
    return json.dumps(
        {
            "format": FORMAT,
            "disclaimer": DISCLAIMER,
            "kit": run.version,
            "target": run.target,
            "kind": run.kind,
            "at": run.at.isoformat(timespec="seconds"),
            "counts": {
                str(level): {str(status): count for status, count in counts.items()}
                for level, counts in run.counts().items()
            },
            "results": [_result(result) for result in run.results],
        },
        indent=1,
        ensure_ascii=False,
    )


def read(text: str | bytes) -> Run:
    """Return the run that `write` wrote; raises ValueError with a sentence for a person for anything else."""
    try:
        raw = json.loads(text)
        if raw["format"] != FORMAT:
            raise ValueError(raw["format"])
        return Run(
            target=raw["target"],
            kind=raw["kind"],
            at=datetime.fromisoformat(raw["at"]),
            results=tuple(_read_result(one) for one in raw["results"]),
            version=raw["kit"],
        )
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(
            "it is no report of a conformance run: give the report.json that --report wrote"
        ) from error


def _result(result: Result) -> dict[str, Any]:
    assertion = result.assertion
    return {
        "id": assertion.id,
        "group": assertion.group,
        "level": str(assertion.level),
        "role": str(assertion.role),
        "text": assertion.text,
        "section": assertion.section,
        "why": assertion.why,
        "status": str(result.status),
        "expected": result.expected,
        "seen": result.seen,
        "reason": result.reason,
        "seconds": round(result.seconds, 3),
        "exchanged": [
            {
                "label": one.label,
                "direction": str(one.direction),
                "head": one.head,
                "seconds": round(one.seconds, 3),
                "octets": base64.b64encode(one.body).decode(),
            }
            for one in result.exchanged
        ],
    }


def _read_result(raw: dict[str, Any]) -> Result:
    return Result(
        assertion=catalogue()[raw["id"]],
        status=Status(raw["status"]),
        expected=raw["expected"],
        seen=raw["seen"],
        reason=raw["reason"],
        seconds=raw["seconds"],
        exchanged=tuple(
            Octets(
                one["label"],
                Direction(one["direction"]),
                one["head"],
                base64.b64decode(one["octets"]),
                one["seconds"],
            )
            for one in raw["exchanged"]
        ),
    )
