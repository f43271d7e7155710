"""Answers of OCSP responders: asked in the background about certificates that lead to an authority we know, then kept.

An answer is taken only for a certificate that we asked about, signed by its issuer or by a responder that the very
issuer certified for it (RFC 6960 4.2.2.2), while it is fresh, and not in place of a newer one. Like a list it
outlives its `nextUpdate` here, so that policy can decide about stale answers; what it says is revoked stays revoked,
and no less after a restart: an answer that was kept is recalled when its certificate is asked about, however old.

No nonce is sent: an answer that is fetched ahead of its use is meant to be kept for as long as it says, and
responders of large authorities make theirs in advance. How fresh it is tells its own time.

Spec: RFC 6960; RFC 5019; hostile.md 1.7 (KEY-04, KEY-05).
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from keys.certificate import check_key, fingerprint
from keys.errors import OcspRefused, WeakKey

MAX_ANSWER_BYTES: Final = 64 * 1024
CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far an answer's `thisUpdate` may lie ahead of our clock."""
LONGEST: Final = timedelta(days=7)
"""How long an answer counts that does not say when it ends, and the most that one that says so is believed."""
WATCHED: Final = 1024
_WEAK: Final = (hashes.MD5, hashes.SHA1)


@dataclass(frozen=True, slots=True)
class OcspFacts:
    """What an answer in the store says about itself."""

    issuer: str
    serial: int
    this_update: datetime
    next_update: datetime


@dataclass(frozen=True, slots=True)
class OcspAnswer:
    """What a responder said about one certificate: when it was revoked, or None for good."""

    revoked_at: datetime | None
    facts: OcspFacts


@dataclass(frozen=True, slots=True)
class Watched:
    """A certificate that a responder is asked about, and its issuer."""

    certificate: x509.Certificate
    issuer: x509.Certificate


class OcspStore:
    """The answers at hand, and whom they are wanted for.

    A certificate is wanted once it is asked about here, which happens to those only whose path leads to an anchor.
    The `capacity` used last are kept. `generation` counts accepted answers, so that cached decisions know when to
    ask again.
    """

    def __init__(
        self,
        *,
        capacity: int = WATCHED,
        recall: Callable[[x509.Certificate], bytes | None] | None = None,
    ) -> None:
        """`recall` gives the answer (DER) about a certificate that was taken before and kept, or None; it is quick."""
        self._capacity = capacity
        self._recall = recall
        self._watched: OrderedDict[str, Watched] = OrderedDict()
        self._held: dict[str, OcspAnswer] = {}
        self.generation = 0

    @property
    def watched(self) -> tuple[Watched, ...]:
        """The certificates that answers are wanted for, the one used last at the end."""
        return tuple(self._watched.values())

    def watch(self, certificate: x509.Certificate, issuer: x509.Certificate) -> None:
        """Want answers for a certificate from now on."""
        key = fingerprint(certificate)
        self._watched[key] = Watched(certificate, issuer)
        self._watched.move_to_end(key)
        if len(self._watched) > self._capacity:
            gone, _ = self._watched.popitem(last=False)
            self._held.pop(gone, None)

    def ask(self, certificate: x509.Certificate, issuer: x509.Certificate) -> OcspAnswer | None:
        """What is known of a certificate, fresh or stale; None for nothing, and then an answer is wanted."""
        key = fingerprint(certificate)
        is_new = key not in self._watched
        self.watch(certificate, issuer)
        if is_new and self._recall is not None and (kept := self._recall(certificate)) is not None:
            with contextlib.suppress(OcspRefused):
                self.add(kept, at=None, about=certificate)
        return self._held.get(key)

    def end_of(self, certificate: x509.Certificate) -> datetime | None:
        """When the answer about a certificate ends; None where there is none."""
        answer = self._held.get(fingerprint(certificate))
        return None if answer is None else answer.facts.next_update

    def add(
        self, data: bytes, *, at: datetime | None, about: x509.Certificate | None = None
    ) -> OcspFacts:
        """Check an answer (DER) and take it in place of an older one.

        Args:
            data: the answer.
            at: the time now, aware; None for one that was taken before and kept, which may be stale, and whose
                signer had to be good when it was made.
            about: the certificate that the question was about; None takes an answer about any that is wanted.

        Raises:
            OcspRefused: ocsp.parse, ocsp.status (the responder would not say), ocsp.certificate (nobody asked about
                it, or the question was about another), ocsp.signature, ocsp.responder, ocsp.unknown, ocsp.future,
                ocsp.stale or ocsp.older.
        """
        response = _load(data)
        watched = self._meant(response, about)
        _check_signature(response, watched.issuer, at or response.this_update_utc)
        facts = _facts(response, watched)
        if at is not None and facts.this_update > at + CLOCK_SKEW:
            raise OcspRefused(
                f"the answer is from the future: {facts.this_update}", reason="ocsp.future"
            )
        if at is not None and facts.next_update < at:
            raise OcspRefused(f"the answer ran out at {facts.next_update}", reason="ocsp.stale")
        if response.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
            raise OcspRefused(
                f"the responder does not know serial {facts.serial:x}", reason="ocsp.unknown"
            )
        key = fingerprint(watched.certificate)
        held = self._held.get(key)
        if held is not None and held.facts.this_update > facts.this_update:
            raise OcspRefused("the answer is older than the one at hand", reason="ocsp.older")
        answer = OcspAnswer(response.revocation_time_utc, facts)
        if held != answer:
            self._held[key] = answer
            self.generation += 1
        return facts

    def facts(self) -> list[OcspFacts]:
        """List what is held, for people and gauges, the oldest first."""
        return sorted((one.facts for one in self._held.values()), key=lambda one: one.this_update)

    def _meant(self, response: ocsp.OCSPResponse, about: x509.Certificate | None) -> Watched:
        for watched in self._watched.values():
            if (
                watched.certificate.serial_number == response.serial_number
                and about in (None, watched.certificate)
                and _names_issuer(response, watched.issuer)
            ):
                return watched
        raise OcspRefused(
            f"nobody asked about serial {response.serial_number:x}", reason="ocsp.certificate"
        )


def build_request(certificate: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """Return the question about one certificate as DER; the identifiers use SHA-1, as RFC 5019 has it."""
    # It names the issuer and proves nothing; other digests are not understood by every responder.
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())  # noqa: S303
    return builder.build().public_bytes(Encoding.DER)


def _load(data: bytes) -> ocsp.OCSPResponse:
    if len(data) > MAX_ANSWER_BYTES:
        raise OcspRefused(f"an answer of {len(data)} octets", reason="ocsp.parse")
    try:
        response = ocsp.load_der_ocsp_response(data)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise OcspRefused(
                f"the responder said {response.response_status.name.lower()}", reason="ocsp.status"
            )
        _ = response.serial_number, response.hash_algorithm, response.this_update_utc
        _ = response.certificates
    except (ValueError, UnsupportedAlgorithm) as error:
        raise OcspRefused(
            "not a readable OCSP answer about one certificate", reason="ocsp.parse"
        ) from error
    return response


def _names_issuer(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> bool:
    digest = hashes.Hash(response.hash_algorithm)
    digest.update(issuer.subject.public_bytes())
    if digest.finalize() != response.issuer_name_hash:
        return False
    if isinstance(response.hash_algorithm, hashes.SHA1):
        wanted = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key()).digest
        return wanted == response.issuer_key_hash
    # The key's bits are the rest of what its SHA-1 identifier is made of; the signature proves the key anyway.
    return True


def _facts(response: ocsp.OCSPResponse, watched: Watched) -> OcspFacts:
    begin = response.this_update_utc
    end = min(response.next_update_utc or begin + LONGEST, begin + LONGEST)
    return OcspFacts(watched.issuer.subject.rfc4514_string(), response.serial_number, begin, end)


def _check_signature(response: ocsp.OCSPResponse, issuer: x509.Certificate, at: datetime) -> None:
    """Refuse an answer that neither the issuer nor a responder certified by it has signed."""
    if _signed_by(response, issuer):
        return
    for responder in response.certificates:
        try:
            responder.verify_directly_issued_by(issuer)
        except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
            continue
        if _signed_by(response, responder):
            _require_responder(responder, at)
            return
    raise OcspRefused(
        "neither the issuer nor a responder of its own signed the answer", reason="ocsp.signature"
    )


def _require_responder(certificate: x509.Certificate, at: datetime) -> None:
    """Refuse a certificate of the issuer that is not for signing OCSP answers, or not valid now."""
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    valid = certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc
    if ExtendedKeyUsageOID.OCSP_SIGNING not in purposes or not valid:
        raise OcspRefused(
            "the answer is signed by a certificate that is not for OCSP answers, or not valid now",
            reason="ocsp.responder",
        )


def _signed_by(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    try:
        check_key(signer)
        digest = response.signature_hash_algorithm
        if digest is None or isinstance(digest, _WEAK):
            return False
        key, signed, signature = (
            signer.public_key(),
            response.tbs_response_bytes,
            response.signature,
        )
        if isinstance(key, rsa.RSAPublicKey):
            pss = response.signature_algorithm_oid == SignatureAlgorithmOID.RSASSA_PSS
            scheme = (
                padding.PSS(padding.MGF1(digest), padding.PSS.AUTO) if pss else padding.PKCS1v15()
            )
            key.verify(signature, signed, scheme, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(digest))
        else:
            return False
    except (WeakKey, InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def addresses(certificate: x509.Certificate) -> Iterable[str]:
    """Return the addresses of responders that a certificate names, in its order."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except x509.ExtensionNotFound:
        return ()
    return tuple(
        one.access_location.value
        for one in access.value
        if one.access_method == x509.oid.AuthorityInformationAccessOID.OCSP
        and isinstance(one.access_location, x509.UniformResourceIdentifier)
    )
