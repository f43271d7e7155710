"""What every route answers with, and how it reads its parameters."""

from typing import Final

from aiohttp import web

from accesspoint.problems import PROBLEMS

_DIGITS: Final = 18


def problem(status: int, slug: str, detail: str, **more: object) -> web.Response:
    """An RFC 9457 problem as a response; one that the catalogue knows also says whose it is and what to do."""
    known = PROBLEMS.get(slug)
    told = {} if known is None else {"whose": known.who.value, "remedy": list(known.do())}
    body = {
        "type": f"/docs/problems/{slug}",
        "title": slug,
        "status": status,
        "detail": detail,
        **told,
        **more,
    }
    return web.json_response(body, status=status, content_type="application/problem+json")


def whole(text: str) -> int:
    """A whole number from 0 to what the tables can hold; raises ValueError."""
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise ValueError(text)
    return int(text)
