"""Reads an HTTP answer to its end, but never more of it than a bound."""

import aiohttp


class AnswerTooLong(Exception):
    """The answer goes on past the bound; `limit` is in octets."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is longer than {limit} octets")
        self.limit = limit


async def read_bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the whole body, so that the connection can be used again.

    Raises: AnswerTooLong once more than `limit` octets (after any content coding) have come.
    """
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            # The rest will not be read, so the connection is of no more use.
            response.close()
            raise AnswerTooLong(limit)
    return bytes(body)
