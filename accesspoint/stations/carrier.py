"""Carries hand-overs to a station that stands apart: one POST over mutual TLS with a sealed manifest beside the document.

The document is not touched: a signature inside it would break its schema. The manifest holds its SHA-256,
its kind and the facts that the next station needs, and our message key signs it. An outcome is brought the
same way, upwards; its own text is the document.

Spec: EHMI authenticity between C1 and C2 (decision D10).
"""

import hashlib
import json
import re
import ssl
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from accesspoint.as4.client import As4Client, HttpAnswer, PostFailed
from accesspoint.clock import Clock
from accesspoint.stations.link import Handover
from accesspoint.stations.relay import NotTaken
from accesspoint.stations.reporting import facts_from_json
from accesspoint.store.outcomes import KIND as OUTCOME
from accesspoint.store.payloads import PayloadStore
from envelope.mime import MultipartWriter, OutboundPart
from envelope.seal import Manifest, seal_manifest
from keys.errors import KeyStoreError
from keys.private import FileSigner

PATH: Final = "/stations/v1/handovers"
CHUNK_BYTES: Final = 64 * 1024
MANIFEST_ID: Final = "manifest"
ITEM_ID: Final = "item"
DOCUMENT_ID: Final = "document"
_REASON: Final = re.compile(r"[a-z][a-z.-]{0,63}", re.ASCII)


class StationClient:
    """Brings hand-overs to one neighbouring station."""

    def __init__(
        self,
        url: str,
        *,
        client: As4Client,
        signer: FileSigner,
        payloads: PayloadStore,
        clock: Clock,
    ) -> None:
        self._url = url.rstrip("/") + PATH
        self._client = client
        self._payloads = payloads
        self._clock = clock
        self.take_signer(signer)

    def take_signer(self, signer: FileSigner) -> None:
        """Seal with this key from now on; raises KeyStoreError for one that is not RSA."""
        if not isinstance(signer.private_key, rsa.RSAPrivateKey):
            raise KeyStoreError("hand-overs between stations are sealed with an RSA key")
        self._key = signer.private_key
        self._certificate = signer.certificate

    async def carry(self, handover: Handover) -> None:
        """Bring one hand-over across; returns once the other station has it. Raises `NotTaken`."""
        item = handover.item.encode()
        manifest = seal_manifest(
            manifest_of(handover, self._clock.now()), self._key, self._certificate
        )
        writer = MultipartWriter(
            boundary=f"=_{handover.id}",
            root_content_id=f"{MANIFEST_ID}@{handover.id}",
            root=manifest,
        )
        parts = [
            OutboundPart(f"{ITEM_ID}@{handover.id}", "application/json", len(item)),
            OutboundPart(
                f"{DOCUMENT_ID}@{handover.id}", handover.media_type, handover.stored.payload_bytes
            ),
        ]

        async def body() -> AsyncIterator[bytes]:
            yield writer.opening() + writer.head(parts[0]) + item + writer.head(parts[1])
            stored = handover.stored
            if handover.kind == OUTCOME:
                yield item
            else:
                payloads = self._payloads
                opened = partial(payloads.open, stored.payload, sha256=stored.payload_sha256)
                with await payloads.aside(opened) as reader:
                    while chunk := await payloads.aside(partial(reader.read, CHUNK_BYTES)):
                        yield chunk
            yield writer.tail()

        try:
            answer = await self._client.post(
                self._url,
                content_type=writer.content_type(),
                content_length=writer.total_length(parts),
                body=body(),
            )
        except PostFailed as failed:
            raise NotTaken(failed.slug, failed.detail) from failed
        if answer.status != 200:
            raise NotTaken("station-refused", f"HTTP {answer.status}{_reason(answer)}")


def manifest_of(handover: Handover, at: datetime) -> Manifest:
    """The manifest of a hand-over: what the document is. Its routing facts may name a patient, so they stand in a
    part of their own and only their digest is in the manifest."""
    return Manifest(
        id=handover.id,
        kind=handover.kind,
        direction="up" if handover.kind == OUTCOME else handover.target,
        created_at=at,
        sha256=bytes.fromhex(handover.stored.payload_sha256),
        size=handover.stored.payload_bytes,
        mime_type=handover.media_type,
        facts={
            "item-sha256": hashlib.sha256(handover.item.encode()).hexdigest(),
            "message": handover.message_identifier,
            **_envelope_of(handover),
        },
    )


def _envelope_of(handover: Handover) -> dict[str, str]:
    """The identifier of the envelope, where the document is one."""
    if handover.kind != "envelope":
        return {}
    return {"envelope": facts_from_json(handover.facts).transport_envelope_identifier or ""}


def _reason(answer: HttpAnswer) -> str:
    """Why the neighbour refused, in the one word that it may say."""
    try:
        reason = json.loads(answer.body)["reason"]
    except (ValueError, TypeError, LookupError):
        return ""
    return f" {reason}" if isinstance(reason, str) and _REASON.fullmatch(reason) else ""


def station_client(tls: ssl.SSLContext) -> As4Client:
    """The HTTP client between stations."""
    return As4Client(tls, timeout_seconds=30.0, per_partner=4)
