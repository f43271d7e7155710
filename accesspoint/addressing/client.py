"""One FHIR request to a central service: over mutual TLS, with a token of the same certificate, read to a bound.

What was asked never appears in an exception or a log line: it may be about a patient.

Spec: EHMI security architecture 0.98; FHIR R4 http.
"""

import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
import orjson
import structlog

from accesspoint.bounded import AnswerTooLong, read_bounded
from accesspoint.delivery.token import TokenRefused, TokenSource, TokenUnreachable

ANSWER_LIMIT: Final = 1024 * 1024
FHIR_JSON: Final = "application/fhir+json"
_SHORT: Final = 300

log = structlog.get_logger()


class AddressingFailed(Exception):
    """No answer that can be used; `slug` is of the problem catalogue, `detail` is never about a patient.

    `outcomes` are what the service itself said, in the words of its OperationOutcome.
    """

    def __init__(self, slug: str, detail: str, outcomes: tuple[str, ...] = ()) -> None:
        super().__init__(f"{slug}: {detail}")
        self.slug = slug
        self.detail = detail
        self.outcomes = outcomes


class FhirClient:
    """Asks one service; `scope` is that of its tokens, `session` the shared HTTP session."""

    def __init__(
        self,
        base_url: str,
        *,
        scope: str,
        tokens: TokenSource,
        ssl_context: ssl.SSLContext,
        session: Callable[[], aiohttp.ClientSession],
        timeout: float = 10.0,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._scope = scope
        self._tokens = tokens
        self._ssl_context = ssl_context
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Read or search; what is searched for must not be about a patient, since it stands in the address.

        Raises: AddressingFailed.
        """
        return await self._ask("GET", path, query, None)

    async def post(self, path: str, resource: Mapping[str, Any]) -> Any:
        """Call an operation. Raises: AddressingFailed."""
        return await self._ask("POST", path, None, orjson.dumps(resource))

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None, body: bytes | None
    ) -> Any:
        status, answer = await self._send(method, path, query, body)
        if status == 401:
            # The service may have forgotten what the authorization server still gives out: one new token.
            self._tokens.drop_scope(self._scope)
            status, answer = await self._send(method, path, query, body)
        try:
            resource = orjson.loads(answer)
        except orjson.JSONDecodeError:
            resource = None
        outcomes = read_outcomes(resource)
        if status == 404 or (status == 200 and _is_outcome(resource)):
            raise AddressingFailed("addressing-not-found", f"status {status}", outcomes)
        if status >= 500 or status == 429:
            raise AddressingFailed("addressing-unreachable", f"status {status}", outcomes)
        if status != 200 or resource is None:
            raise AddressingFailed("addressing-refused", f"status {status}", outcomes)
        return resource

    async def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: bytes | None
    ) -> tuple[int, bytes]:
        try:
            token = await self._tokens.for_scope(self._scope)
        except (TokenRefused, TokenUnreachable) as error:
            raise AddressingFailed(error.problem, error.detail) from None
        headers = {"Authorization": f"Bearer {token}", "Accept": FHIR_JSON}
        if body is not None:
            headers["Content-Type"] = FHIR_JSON
        try:
            async with self._session().request(
                method,
                f"{self._base}/{path}",
                params=query,
                data=body,
                headers=headers,
                ssl=self._ssl_context,
                allow_redirects=False,
                timeout=self._timeout,
            ) as response:
                return response.status, await read_bounded(response, ANSWER_LIMIT)
        except (aiohttp.ClientError, AnswerTooLong, TimeoutError, OSError) as error:
            log.warning("addressing_unreachable", error=type(error).__name__)
            raise AddressingFailed(
                "addressing-unreachable", f"no answer: {type(error).__name__}"
            ) from None


def read_outcomes(resource: object) -> tuple[str, ...]:
    """The texts of an OperationOutcome, short; none for anything else."""
    if not isinstance(resource, dict) or not _is_outcome(resource):
        return ()
    issues = resource.get("issue")
    found = issues if isinstance(issues, list) else []
    texts = [one.get("diagnostics") for one in found if isinstance(one, dict)]
    return tuple(text[:_SHORT] for text in texts if isinstance(text, str))


def _is_outcome(resource: object) -> bool:
    return isinstance(resource, dict) and resource.get("resourceType") == "OperationOutcome"
