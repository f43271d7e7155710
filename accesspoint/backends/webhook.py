"""The webhook backend: each message and each outcome is one signed POST to an address of the organisation.

The body is the message as it was received, streamed, or the outcome as JSON. `Idempotency-Key` is the id of the
delivery or the outcome, the same for ever: a consumer that has seen it answers 2xx and does nothing.
`Ehmi-Manifest` says in JSON what the body is, without personal data. How to verify the signature stands in
`accesspoint.backends.signature`.

What an answer means (`MEANINGS`; whatever is not confirmed comes again, later each time, with jitter, for as long as
it takes, since its sender has a receipt for it):

    2xx                      taken for good; it never comes again
    408, 409, 425, 429, 5xx  not now: busy, or still at the same delivery
    3xx, any other 4xx       not so: a person must look at the address, the secret or the consumer (alarmed)

Redirects are not followed, connections go to the allowed networks only, TLS is as with partners, with our
client certificate.

Spec: reliability section 2.2 (idempotent consumers); experience section 4 (webhooks).
"""

import asyncio
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp

from accesspoint.as4.client import SLOWEST_BYTES_PER_SECOND
from accesspoint.backends.base import NEVER_SO, NOT_NOW, DeliveryRefused, manifest_of
from accesspoint.backends.signature import ALGORITHM, content_digest, sign
from accesspoint.clock import Clock
from accesspoint.failpoints import failpoint
from accesspoint.networks import AllowedNetworks
from accesspoint.stations.document import Document
from accesspoint.store.outcomes import MEDIA_TYPE
from accesspoint.store.payloads import PayloadStore

CHUNK_BYTES: Final = 64 * 1024
CONNECT_SECONDS: Final = 10.0
MEANINGS: Final = {408: NOT_NOW, 409: NOT_NOW, 425: NOT_NOW, 429: NOT_NOW}
"""Statuses below 500 that go away by themselves."""


class WebhookBackend:
    """POSTs to one address; `secret` signs, `key_id` names it to the consumer."""

    def __init__(
        self,
        url: str,
        *,
        secret: bytes,
        key_id: str,
        tls: ssl.SSLContext,
        networks: AllowedNetworks,
        timeout_seconds: float,
        clock: Clock,
    ) -> None:
        self._url = url
        self._secret = secret
        self._key_id = key_id
        self._tls = tls
        self._networks = networks
        self._seconds = timeout_seconds
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def deliver(self, delivery_id: str, document: Document, payloads: PayloadStore) -> None:
        """POST the message; raises `DeliveryRefused` for any answer that does not confirm it."""
        stored = document.stored

        async def body() -> AsyncIterator[bytes]:
            with payloads.open(stored.payload, sha256=stored.payload_sha256) as reader:
                while chunk := reader.read(CHUNK_BYTES):
                    yield chunk
                    failpoint("D2")

        manifest = manifest_of(delivery_id, document)
        await self._post(delivery_id, manifest, body())

    async def tell(self, outcome_id: str, message_identifier: str, outcome: bytes) -> None:
        """POST the outcome; raises `DeliveryRefused` for any answer that does not confirm it."""
        manifest = {
            "outcome": outcome_id,
            "message_identifier": message_identifier,
            "media_type": MEDIA_TYPE,
            "bytes": len(outcome),
            "sha256": hashlib.sha256(outcome).hexdigest(),
        }
        await self._post(outcome_id, manifest, outcome)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _post(
        self, id_: str, manifest: dict[str, Any], body: AsyncIterator[bytes] | bytes
    ) -> None:
        headers = self._headers(id_, manifest)
        whole = self._seconds + manifest["bytes"] / SLOWEST_BYTES_PER_SECOND
        try:
            async with (
                asyncio.timeout(whole),
                self._open().post(
                    self._url, data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # Names the kind of the error only: the text of some repeats the address, or what was answered.
            cause = getattr(error, "os_error", error)
            raise DeliveryRefused(type(cause).__name__) from error
        if not 200 <= status < 300:
            slug = NOT_NOW if status >= 500 else MEANINGS.get(status, NEVER_SO)
            raise DeliveryRefused(f"HTTP {status}", slug=slug)

    def _headers(self, id_: str, manifest: dict[str, Any]) -> dict[str, str]:
        fields = {
            "Content-Type": manifest["media_type"],
            "Content-Length": str(manifest["bytes"]),
            "Content-Digest": content_digest(manifest["sha256"]),
            "Idempotency-Key": id_,
            "Ehmi-Manifest": json.dumps(manifest),
        }
        covered = {"@method": "POST", "@target-uri": self._url}
        covered |= {name.lower(): value for name, value in fields.items()}
        created = int(self._clock.now().timestamp())
        params = f';created={created};keyid="{self._key_id}";alg="{ALGORITHM}"'
        given, signature = sign(covered, params, self._secret)
        return {**fields, "Signature-Input": given, "Signature": signature}

    def _open(self) -> aiohttp.ClientSession:
        """The session, which needs a running loop to be made."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._networks.connector(tls=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_SECONDS, sock_read=self._seconds
                ),
                trust_env=False,
                auto_decompress=False,
            )
        return self._session
