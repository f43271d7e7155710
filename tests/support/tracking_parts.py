"""The pages as a test has them, and somebody who looks at them without a screen."""

import re
from dataclasses import dataclass
from typing import Any

import aiohttp
from journeys import Story

from accesspoint.status_component.store import EventStore
from accesspoint.tracking.pages import Pages


@dataclass
class Served:
    """The pages, where they are, and what they show."""

    pages: Pages
    url: str
    store: EventStore
    stories: dict[str, Story]
    code: str = ""
    """What one signs in with, where there is no issuer."""


class Visitor:
    """A browser without a screen: keeps cookies, follows redirections, sends what a browser's forms send."""

    def __init__(self, served: Served, session: aiohttp.ClientSession) -> None:
        self.served, self.session = served, session
        self.token = ""

    async def sign_in(self, role: str, **fields: str) -> "Visitor":
        """Sign in with the code of this start."""
        form = {"code": self.served.code, "role": role, **fields}
        status, _, _ = await self.post("/sign-in", form)
        assert status == 200
        return self

    async def get(self, path: str, **rest: Any) -> tuple[int, str, aiohttp.ClientResponse]:
        """Status, text and the answer itself."""
        async with self.session.get(self.served.url + path, **rest) as answer:
            return answer.status, await self._read(answer), answer

    async def post(
        self, path: str, form: dict[str, str], **rest: Any
    ) -> tuple[int, str, aiohttp.ClientResponse]:
        """As `get`; with the token of the forms, and the Origin that a browser sends."""
        headers = {"Origin": self.served.url, **rest.pop("headers", {})}
        form = {"token": self.token, **form}
        url = self.served.url + path
        async with self.session.post(url, data=form, headers=headers, **rest) as answer:
            return answer.status, await self._read(answer), answer

    async def _read(self, answer: aiohttp.ClientResponse) -> str:
        """The text, and out of it the token for the next form."""
        text = await answer.text()
        if found := re.search(r'name="token" value="([^"]+)"', text):
            self.token = found[1]
        return text
