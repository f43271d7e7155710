"""What every route answers with, and how it reads its parameters."""

from collections.abc import Mapping
from json import JSONDecodeError
from typing import Final

from aiohttp import web

from accesspoint.api.client import LONGEST_REASON
from accesspoint.log import without_patient_numbers
from accesspoint.problems import PROBLEMS

_DIGITS: Final = 18


class NoReason(Exception):
    """Nothing was said, or nothing readable, of why this is done."""


def problem(status: int, slug: str, detail: str, **more: object) -> web.Response:
    """An RFC 9457 problem as a response; one that the catalogue knows also says whose it is and what to do.

    What it repeats of a request is without patient numbers: whoever asked may log what went wrong.
    """
    known = PROBLEMS.get(slug)
    told = {} if known is None else {"whose": known.who.value, "remedy": list(known.do())}
    body = {
        "type": f"/docs/problems/{slug}",
        "title": slug,
        "status": status,
        "detail": without_patient_numbers(detail),
        **told,
        **{name: _without_patient_numbers(value) for name, value in more.items()},
    }
    return web.json_response(body, status=status, content_type="application/problem+json")


def _without_patient_numbers(value: object) -> object:
    if isinstance(value, str):
        return without_patient_numbers(value)
    if isinstance(value, Mapping):
        return {name: _without_patient_numbers(one) for name, one in value.items()}
    return (
        [_without_patient_numbers(one) for one in value]
        if isinstance(value, (list, tuple))
        else value
    )


def whole(text: str) -> int:
    """A whole number from 0 to what the tables can hold; raises ValueError."""
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise ValueError(text)
    return int(text)


async def read_reason(request: web.Request) -> str:
    """Why somebody does this, from the JSON body `{"reason": "..."}`: an address would be written down elsewhere.

    Raises: NoReason.
    """
    try:
        body = await request.json()
    except (JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise NoReason from None
    reason = body.get("reason") if isinstance(body, dict) and set(body) == {"reason"} else None
    if not isinstance(reason, str) or not reason.strip() or len(reason) > LONGEST_REASON:
        raise NoReason
    return " ".join(reason.split())
