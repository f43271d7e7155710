"""The service metadata publisher in miniature: signed answers about registered participants, in every form.

Below `bdxr-smp-2/` it speaks SMP 2.0, and to who comes by a participant's Busdox name it speaks Busdox; everybody else
is answered as SMP 1.0 by OASIS.

Spec: OASIS SMP 2.0; Busdox service metadata publishing 1.0; OASIS SMP 1.0 (GET of ServiceGroup and
SignedServiceMetadata, 404 for what is not known; identifiers compared ignoring case unless their scheme says
otherwise).
"""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from accesspoint.network.faults import Fault
from envelope import names
from envelope.smp import (
    SMP2_PREFIX,
    Endpoint,
    Process,
    Redirect,
    ServiceMetadata,
    SmpForm,
    SmpIdentifier,
    build_group_2,
    build_metadata_2,
    build_service_group,
    build_signed_service_metadata,
    fold,
    metadata_path,
    read_path,
)
from keys.certificate import der
from keys.devca import IssuedCertificate

DOCUMENT_SCHEME: Final = "busdox-docid-qns"
PROCESS_SCHEME: Final = "dk-messaging-procid"
CASE_SENSITIVE: Final = frozenset({DOCUMENT_SCHEME})
"""Schemes that say that the case of their identifiers counts."""
_XML: Final = "text/xml"
_XML_2: Final = "application/xml"
_BUSDOX_HOST: Final = re.compile(r"b-[0-9a-f]{32}\.", re.IGNORECASE)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Registration:
    """One participant: the documents it takes, where, and the certificate (DER) to encrypt for.

    `participant` is `0088:` and the GLN in the usual `scheme`; `expiration` ends the endpoint, None never.
    Documents in `redirects` are answered with a redirect to another publisher. `signing_certificate` (DER) is told
    where it is another one, which only SMP 2.0 can.
    """

    participant: str
    documents: tuple[str, ...]
    url: str
    certificate: bytes
    process_id: str = names.EHMI_PROCESS
    transport_profile: str = names.TRANSPORT_AS4_V1
    activation: datetime | None = None
    expiration: datetime | None = None
    scheme: str | None = names.ISO6523_ACTORID
    document_scheme: str | None = None
    redirects: Mapping[str, Redirect] = field(default_factory=dict)
    signing_certificate: bytes | None = None


class Publisher:
    """Answers from its registrations; signs each answer when it is asked for."""

    def __init__(
        self,
        signer: IssuedCertificate,
        *,
        stranger: IssuedCertificate,
        somebody_else: IssuedCertificate,
        document_scheme: str = DOCUMENT_SCHEME,
        process_scheme: str = PROCESS_SCHEME,
        case_sensitive: Set[str] = CASE_SENSITIVE,
        faults: Set[Fault] = frozenset(),
    ) -> None:
        """`stranger` signs under a planted fault; `somebody_else` is then published as the receiver."""
        self._signer = signer
        self._stranger = stranger
        self._somebody_else = somebody_else
        self._document_scheme = document_scheme
        self._process_scheme = process_scheme
        self._case_sensitive = case_sensitive
        self._faults = faults
        self._registrations: dict[str, Registration] = {}

    def register(self, registration: Registration) -> None:
        """Publish a participant; an earlier registration of it is replaced."""
        self._registrations[registration.participant] = registration

    def unregister(self, participant: str) -> None:
        """Publish nothing more about a participant."""
        self._registrations.pop(participant, None)

    def application(self) -> web.Application:
        """One route for every path: the segments are percent-encoded and matched as a whole."""
        application = web.Application()
        application.router.add_get("/{path:.*}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.Response:
        # The raw path: decoding would turn %2F inside an identifier into a separator.
        path = request.rel_url.raw_path.removeprefix("/")
        form = SmpForm.BUSDOX if _BUSDOX_HOST.match(request.host) else SmpForm.OASIS_1
        if path.startswith(SMP2_PREFIX):
            path, form = path.removeprefix(SMP2_PREFIX), SmpForm.OASIS_2
        media_type = _XML if form is not SmpForm.OASIS_2 else _XML_2
        asked = read_path(path)
        if asked is not None:
            participant, document = self._spelling(asked[0]), asked[1]
            for registration in self._registrations.values():
                if participant != self._spelling(_participant(registration)):
                    continue
                if document is None:
                    body = self._group(request, registration, form)
                    return web.Response(body=body, content_type=media_type)
                for known in self._documents(registration):
                    if self._spelling(document) == self._spelling(known):
                        body = self._sign(registration, known, form)
                        return web.Response(body=body, content_type=media_type)
        log.info("publisher_knows_nothing")
        raise web.HTTPNotFound

    def _spelling(self, identifier: SmpIdentifier) -> SmpIdentifier:
        """What of an identifier counts when it is compared."""
        return identifier if identifier.scheme in self._case_sensitive else fold(identifier)

    def _documents(self, registration: Registration) -> list[SmpIdentifier]:
        if Fault.DOCUMENT_MISSING in self._faults:
            return []
        scheme = registration.document_scheme or self._document_scheme
        listed = (*registration.documents, *registration.redirects)
        return [SmpIdentifier(scheme, document) for document in listed]

    def _group(self, request: web.Request, registration: Registration, form: SmpForm) -> bytes:
        participant = _participant(registration)
        if form is SmpForm.OASIS_2:
            return build_group_2(participant, self._documents(registration))
        base = f"{request.scheme}://{request.host}/"
        references = [
            base + metadata_path(participant, document)
            for document in self._documents(registration)
        ]
        return build_service_group(participant, references, form)

    def _sign(self, registration: Registration, document: SmpIdentifier, form: SmpForm) -> bytes:
        wrong = Fault.WRONG_CERTIFICATE in self._faults
        endpoint = Endpoint(
            transport_profile=registration.transport_profile,
            url=registration.url,
            certificate=der(self._somebody_else.certificate) if wrong else registration.certificate,
            signing_certificate=registration.signing_certificate,
            activation=registration.activation,
            expiration=registration.expiration,
        )
        process = SmpIdentifier(self._process_scheme, registration.process_id)
        metadata = registration.redirects.get(document.value) or ServiceMetadata(
            participant=_participant(registration),
            document_id=document,
            processes=(Process(process, (endpoint,)),),
        )
        signer = self._stranger if Fault.METADATA_UNSIGNED in self._faults else self._signer
        if not isinstance(signer.private_key, rsa.RSAPrivateKey):
            raise TypeError("service metadata is signed with RSA")
        signing: dict[str, Any] = {
            "key": signer.private_key,
            "certificate": signer.certificate,
            "chain": signer.chain,
        }
        if form is SmpForm.OASIS_2:
            participant = _participant(registration)
            return build_metadata_2(
                metadata, participant=participant, document_id=document, **signing
            )
        return build_signed_service_metadata(metadata, form=form, **signing)


def _participant(registration: Registration) -> SmpIdentifier:
    return SmpIdentifier(registration.scheme, registration.participant)
