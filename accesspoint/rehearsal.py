"""A dry run of a partner's move to another generation of eDelivery AS4: everything but the sending.

For one generation it is asked, in this order, whether we hold keys, whether the partner shows certificates that we
would trust, whether a message for the partner can be built and reads back as the partner's first gates would read it,
whether a message in this generation opens with our keys, where it would go, and whether the agreement names the
generation. Every answer says whose it is. The certificates are the real ones; the message is the test service's,
over a few octets of our own.

Spec: eDelivery AS4 1.15 and 2.0; decision D15.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from accesspoint.clock import Clock, timestamp
from accesspoint.discovery.directory import Directory, LookupFailed
from accesspoint.generation import encryption_certificate, generations_held, transport_profile_of
from accesspoint.identity import Identity
from accesspoint.ids import Ids
from accesspoint.problems import Whose
from accesspoint.trust import MessageTrust
from envelope import names, soap
from envelope.errors import CertificateRefused, EnvelopeError
from envelope.messaging import (
    CollaborationInfo,
    PartInfo,
    PartyId,
    Property,
    Service,
    UserMessage,
)
from envelope.parts import PartOpener, PartSealer, verify_parts
from envelope.pmode import SUITES, Generation, PMode
from envelope.security_token import TokenReference
from envelope.verified import AuthenticatedUserMessage, ParsedUserMessage
from envelope.wsse import (
    Decrypter,
    Signer,
    WireIds,
    authenticate,
    build_user_message,
    decrypt_key,
)
from envelope.xml import scan
from keys.certificate import agrees_only, der, describe, describe_key, load_certificate
from keys.private import KeyRing, signs_with
from keys.reference import reference_names
from keys.store import KeyStore

_OCTETS: Final = b"<rehearsal>nothing of this is sent</rehearsal>"
_TYPE: Final = "application/xml"


@dataclass(frozen=True, slots=True)
class Step:
    """One question of a rehearsal and its answer; `what` is the question in few words."""

    generation: Generation
    what: str
    whose: Whose
    held: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A rehearsal with one partner: who it is, what is agreed, and the certificates that configuration holds of it."""

    party: str
    mode: PMode
    configured: tuple[x509.Certificate, ...]
    keystore: KeyStore
    identity: Identity
    trust: MessageTrust
    clock: Clock
    ids: Ids

    async def steps(
        self, generation: Generation, *, directory: Directory | None, asked: tuple[str, str, str]
    ) -> list[Step]:
        """Every step for one generation.

        `directory` looks for endpoints of this generation only, None where the table of the partner says the address;
        `asked` are the participant, document and process of the look-up.
        """
        found: list[Step] = []

        def step(what: str, whose: Whose, held: bool, detail: str) -> bool:
            found.append(Step(generation, what, whose, held, detail))
            return held

        published = list(self.configured)
        where = "its table in the configuration"
        if directory is not None:
            try:
                endpoint = await directory.find_endpoint(*asked)
            except LookupFailed as failed:
                step("endpoint", Whose.THEIRS, False, f"{failed.detail} [{failed.slug}]")
            else:
                published.insert(0, load_certificate(endpoint.certificate))
                where = f"{endpoint.url}, {endpoint.transport_profile}"
                step("endpoint", Whose.THEIRS, True, where)
        else:
            profile = transport_profile_of(generation)
            step("endpoint", Whose.THEIRS, True, f"{where}; a directory would say {profile}")
        signer, own = self._our_keys(generation)
        keys = "; ".join(self._about_our_keys(generation, signer, own))
        step("our keys", Whose.OURS, signer is not None and own is not None, keys)
        theirs = encryption_certificate(published, generation)
        step("their key", Whose.THEIRS, *self._about_their_key(generation, theirs))
        step("their signer", Whose.THEIRS, *self._about_their_signer(generation, published))
        if signer is not None and theirs is not None:
            step("towards them", Whose.OURS, *self._towards_them(generation, signer, theirs))
        if signer is not None and own is not None:
            step("towards us", Whose.OURS, *self._towards_us(generation, signer, own))
        agreed = generation in self.mode.generations
        wanted = ", ".join(f'"{one}"' for one in (generation, *self.mode.generations))
        says = "named" if agreed else f"when all else holds: generations = [{wanted}]"
        step("agreement", Whose.BOTH, agreed, says)
        return found

    def _our_keys(self, generation: Generation) -> tuple[Signer | None, x509.Certificate | None]:
        signer = self.identity.signer_for(SUITES[generation])
        fits = signs_with(signer.certificate, SUITES[generation].signature_algorithm)
        own = encryption_certificate(self.keystore.decryption.certificates, generation)
        return signer if fits else None, own

    def _about_our_keys(
        self, generation: Generation, signer: Signer | None, own: x509.Certificate | None
    ) -> Iterator[str]:
        if generation not in generations_held(self.keystore):
            yield f"missing in {self.keystore.directory}"
        signs = None if signer is None else signer.certificate
        for what, certificate in (("signs", signs), ("decrypts", own)):
            if certificate is None:
                yield f"no key that {what}"
            else:
                until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
                yield f"{describe_key(certificate)} {what}, valid until {until}"

    def _about_their_key(
        self, generation: Generation, certificate: x509.Certificate | None
    ) -> tuple[bool, str]:
        if certificate is None:
            return False, f"no certificate to encrypt for under {generation} is published"
        try:
            self.trust.validate_recipient(der(certificate))
        except CertificateRefused as refused:
            return False, refused.detail
        return True, f"{describe_key(certificate)}: {describe(certificate)}"

    def _about_their_signer(
        self, generation: Generation, published: Sequence[x509.Certificate]
    ) -> tuple[bool, str]:
        algorithm = SUITES[generation].signature_algorithm
        for certificate in published:
            if signs_with(certificate, algorithm) and not agrees_only(certificate):
                try:
                    self.trust.check(certificate, (), party=None)
                except CertificateRefused as refused:
                    return False, refused.detail
                return True, f"{describe_key(certificate)}: {describe(certificate)}"
        if self.configured:
            return False, "the configured certificates hold none that signs"
        return True, f"known when it signs: any certificate for {self.party} that we trust"

    def _towards_them(
        self, generation: Generation, signer: Signer, theirs: x509.Certificate
    ) -> tuple[bool, str]:
        """Build for them and read back up to the content key, which only they can open."""
        try:
            data, _ = self._build(generation, signer, theirs)
            authenticated = self._read(generation, data, signer)
        except EnvelopeError as error:
            return False, str(error)
        wrapped = authenticated.encryption
        if wrapped is None or not reference_names(wrapped.wrapped_key.token, theirs):
            return False, "the content key is not for their certificate"
        algorithm = authenticated.signature.algorithm.rpartition("#")[2]
        return True, f"signed with {algorithm}, encrypted, read back, {len(data)} octets"

    def _towards_us(
        self, generation: Generation, signer: Signer, own: x509.Certificate
    ) -> tuple[bool, str]:
        """Build for ourselves, as they would for us, and open it with our keys."""
        try:
            data, wire = self._build(generation, signer, own)
            decrypted = decrypt_key(self._read(generation, data, signer), self._decrypter)
            opener = PartOpener(decrypted, _CONTENT_ID)
            plain = opener.update(wire)
            verify_parts(decrypted, [opener.finish()])
        except EnvelopeError as error:
            return False, str(error)
        if plain != _OCTETS:
            return False, "what was opened is not what was sealed"
        return True, "a message for us opens with our key, signature and digests hold"

    @property
    def _decrypter(self) -> Decrypter:
        ring: KeyRing = self.keystore.decryption
        return ring

    def _build(
        self, generation: Generation, signer: Signer, recipient: x509.Certificate
    ) -> tuple[bytes, bytes]:
        mode = self.mode.knowing((generation,))
        content_key = self.ids.token_bytes(16)
        sealer = PartSealer(
            _CONTENT_ID, content_key, self.ids.token_bytes(12), mime_type=_TYPE, compress=False
        )
        wire = sealer.update(_OCTETS)
        last, sealed = sealer.finish()
        message = UserMessage(
            message_id=self.ids.message_id("rehearsal.invalid"),
            timestamp=timestamp(self.clock.now()),
            from_party=self.identity.from_party(mode),
            to_party=self.identity.to_party(mode, self.party),
            collaboration_info=CollaborationInfo(
                Service(names.EB_TEST_SERVICE), names.EB_TEST_ACTION, self.ids.uuid()
            ),
            parts=(PartInfo(_CONTENT_ID, (Property("MimeType", _TYPE),)),),
        )
        signed = build_user_message(
            message,
            [sealed],
            signer=signer,
            suite=mode.suite,
            recipient=recipient,
            content_key=content_key,
            ids=WireIds.new(self.ids.uuid()),
        )
        return signed.data, wire + last

    def _read(
        self, generation: Generation, data: bytes, signer: Signer
    ) -> AuthenticatedUserMessage:
        parsed = ParsedUserMessage.read(soap.parse_soap(scan(data)))
        policy = self.mode.knowing((generation,)).policy
        return authenticate(parsed, policy=policy, check=_Ourselves(signer.certificate))


_CONTENT_ID: Final = "rehearsal@rehearsal.invalid"


@dataclass(frozen=True, slots=True)
class _Ourselves:
    """The certificate check of a message that we read back: we signed it."""

    certificate: x509.Certificate

    def find(self, reference: TokenReference) -> x509.Certificate | None:
        """Our certificate, when the reference names it."""
        return self.certificate if reference_names(reference, self.certificate) else None

    def check(
        self,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate],
        *,
        party: PartyId | None,
    ) -> str:
        """Refuse every certificate but our own."""
        if certificate != self.certificate:
            raise CertificateRefused("read back with another certificate than we signed with")
        return "ourselves"
