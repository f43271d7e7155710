"""Processing modes as values: what a partner and we have agreed, and the security allow-lists that follow from it.

Two generations of eDelivery AS4 stand side by side: 1.15 with RSA, and 2.0 with keys that agree, on Curve25519 or on
P-256. An agreement names those that it knows; a message is held to the one whose signature it bears, whole, so no
message can mix them, and one of another generation is refused. No conformance with 2.0 is claimed (decision D15).

The eDelivery common profile is the default; EHMI publishes no business values, so they are configuration
with a preset for each product or network that is known. A quirk names one form that a partner really sends although the
profile refuses it (decision D9).

Spec: AS4 Profile 1.0 section 4; eDelivery AS4 1.15 common profile.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from envelope import names


class Quirk(StrEnum):
    """A named deviation of one partner; without it the default profile refuses the form."""

    BYTE_ORDER_MARK = "byte-order-mark"
    BASE64_PARTS = "base64-parts"
    BARE_LINE_FEEDS = "bare-line-feeds"
    MISSING_CONTENT_ID = "missing-content-id"
    BARE_CONTENT_ID = "bare-content-id"
    OAEP_SHA1 = "oaep-sha1"
    OAEP_MGF1P = "oaep-mgf1p"
    RSA_SHA384 = "rsa-sha384"
    SMALL_RSA = "small-rsa"
    UNSIGNED_ERRORS = "unsigned-errors"
    UNENCRYPTED = "unencrypted"
    UNSIGNED_BODY = "unsigned-body"
    HKDF_DIALECT = "hkdf-dialect"
    LOOSE_MESSAGE_ID = "loose-message-id"
    UNTYPED_NAMES = "untyped-names"
    ANY_PARTY_TYPE = "any-party-type"
    BARE_DESCRIPTION = "bare-description"


class TokenForm(StrEnum):
    """How a signature or an encrypted key names its certificate."""

    BINARY_SECURITY_TOKEN = "x509v3"  # noqa: S105
    PKI_PATH = "pkipath"
    KEY_IDENTIFIER = "ski"
    ISSUER_SERIAL = "issuer-serial"


class Generation(StrEnum):
    """A generation of eDelivery AS4 security; the second one has two sets of algorithms."""

    V1_15 = "1.15"
    V2_0 = "2.0"
    V2_0_P256 = "2.0-p256"


class KeyTransport(StrEnum):
    """How the content key reaches the receiver."""

    RSA_OAEP = "rsa-oaep"
    X25519 = "x25519"
    ECDH_ES = "ecdh-es"


@dataclass(frozen=True, slots=True)
class SecurityPolicy:
    """What may stand in an inbound security header, decided at G5 before any key work."""

    signature_algorithms: frozenset[str] = frozenset({names.RSA_SHA256})
    digest_algorithms: frozenset[str] = frozenset({names.SHA256})
    content_encryption: frozenset[str] = frozenset({names.AES128_GCM})
    key_transports: frozenset[str] = frozenset({names.RSA_OAEP})
    curves: frozenset[str] = frozenset({"secp256r1", "secp384r1", "secp521r1", "brainpoolP256r1"})
    encryption_required: bool = True
    minimum_rsa_bits: int = 2048
    quirks: frozenset[Quirk] = frozenset()

    def allows(self, quirk: Quirk) -> bool:
        """Say whether this partner's deviation is agreed."""
        return quirk in self.quirks

    @property
    def allowed_signatures(self) -> frozenset[str]:
        """The signature algorithms with what a quirk adds; a quirk of RSA adds nothing where RSA is not agreed."""
        rsa_384 = self.allows(Quirk.RSA_SHA384) and names.RSA_SHA256 in self.signature_algorithms
        return (
            self.signature_algorithms | {names.RSA_SHA384} if rsa_384 else self.signature_algorithms
        )

    @property
    def allowed_key_transports(self) -> frozenset[str]:
        """The key transports with what a quirk adds; a quirk of RSA adds nothing where RSA is not agreed."""
        mgf1p = self.allows(Quirk.OAEP_MGF1P) and names.RSA_OAEP in self.key_transports
        return self.key_transports | {names.RSA_OAEP_MGF1P} if mgf1p else self.key_transports


EDELIVERY_1_15 = SecurityPolicy()
EDELIVERY_2_0 = SecurityPolicy(
    signature_algorithms=frozenset({names.EDDSA_ED25519}),
    key_transports=frozenset({names.X25519}),
    curves=frozenset(),
)
EDELIVERY_2_0_P256 = SecurityPolicy(
    signature_algorithms=frozenset({names.ECDSA_SHA256}),
    key_transports=frozenset({names.ECDH_ES}),
    curves=frozenset({"secp256r1"}),
)
POLICIES: Final[Mapping[Generation, SecurityPolicy]] = {
    Generation.V1_15: EDELIVERY_1_15,
    Generation.V2_0: EDELIVERY_2_0,
    Generation.V2_0_P256: EDELIVERY_2_0_P256,
}


@dataclass(frozen=True, slots=True)
class SecuritySuite:
    """What we emit towards one partner."""

    signature_algorithm: str = names.RSA_SHA256
    digest_algorithm: str = names.SHA256
    key_transport: KeyTransport = KeyTransport.RSA_OAEP
    signing_token: TokenForm = TokenForm.BINARY_SECURITY_TOKEN
    encryption_token: TokenForm = TokenForm.KEY_IDENTIFIER
    inclusive_prefixes: bool = False
    signed_errors: bool = True


SUITES: Final[Mapping[Generation, SecuritySuite]] = {
    Generation.V1_15: SecuritySuite(),
    Generation.V2_0: SecuritySuite(
        names.EDDSA_ED25519,
        key_transport=KeyTransport.X25519,
        signing_token=TokenForm.PKI_PATH,
    ),
    Generation.V2_0_P256: SecuritySuite(
        names.ECDSA_SHA256,
        key_transport=KeyTransport.ECDH_ES,
        signing_token=TokenForm.PKI_PATH,
    ),
}


class Mep(StrEnum):
    """The message exchange pattern and its binding: whether an answer refers to what it answers.

    Spec: ebMS 3.0 Core section 2.2; eDelivery AS4 1.15 common profile.
    """

    ONE_WAY = "one-way/push"
    TWO_WAY = "two-way/push-and-push"


@dataclass(frozen=True, slots=True)
class PMode:
    """The agreement for one direction between two access points; without service and action it is open for all.

    `policy` and `suite` are those of the first of `generations`; `under` and `spoken_by` give the agreement as it is
    in another one.
    """

    id: str
    party_id_type: str | None = names.PARTY_UNREGISTERED
    initiator_role: str = names.EB_INITIATOR
    responder_role: str = names.EB_RESPONDER
    agreement: str | None = None
    agreement_type: str | None = None
    service: str | None = None
    service_type: str | None = None
    action: str | None = None
    mep: Mep = Mep.ONE_WAY
    encrypt: bool = True
    compress: bool = True
    policy: SecurityPolicy = EDELIVERY_1_15
    suite: SecuritySuite = SUITES[Generation.V1_15]
    generations: tuple[Generation, ...] = (Generation.V1_15,)
    _under: dict[Generation, "PMode"] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What `under` gave, since every message asks for it anew."""

    def knowing(self, generations: tuple[Generation, ...]) -> "PMode":
        """The same agreement for these generations, the preferred one first."""
        return replace(self.under(generations[0]), generations=generations)

    def under(self, generation: Generation) -> "PMode":
        """The same agreement in one generation alone: other algorithms, and another token form unless one is agreed.

        The partner's quirks, and whatever else is agreed with it, stay.
        """
        if self.generations == (generation,):
            return self
        if generation not in self._under:
            self._under[generation] = self._restricted_to(generation)
        return self._under[generation]

    def _restricted_to(self, generation: Generation) -> "PMode":
        current = self.generations[0]
        if generation is current:
            return replace(self, generations=(generation,))
        policy, suite = POLICIES[generation], SUITES[generation]
        form = self.suite.signing_token
        return replace(
            self,
            policy=replace(
                self.policy,
                signature_algorithms=policy.signature_algorithms,
                key_transports=policy.key_transports,
                curves=policy.curves,
            ),
            suite=replace(
                self.suite,
                signature_algorithm=suite.signature_algorithm,
                key_transport=suite.key_transport,
                signing_token=suite.signing_token
                if form is SUITES[current].signing_token
                else form,
            ),
            generations=(generation,),
        )

    def spoken_by(self, signature_algorithm: str | None) -> "PMode":
        """The agreement in the generation that signs so, or in the preferred one, whose policy then refuses the rest."""
        for generation in self.generations:
            mode = self.under(generation)
            if signature_algorithm in mode.policy.allowed_signatures:
                return mode
        return self.under(self.generations[0])


DOMIBUS_LIKE = PMode(id="domibus-like")
PEPPOL_LIKE = PMode(
    id="peppol-like",
    party_id_type=names.PARTY_PEPPOL_AP,
    agreement="urn:fdc:peppol.eu:2017:agreements:tia:ap_provider",
    service_type="cenbii-procid-ubl",
    # Peers of this network read binary security tokens, some (the PyPI package as4) nothing else.
    suite=SecuritySuite(encryption_token=TokenForm.BINARY_SECURITY_TOKEN),
    policy=SecurityPolicy(quirks=frozenset({Quirk.BARE_DESCRIPTION})),
)
PHASE4_LIKE = PMode(
    id="phase4-like",
    # Its Error signals are unsigned; so it passed the conformance tests of 2019.
    policy=SecurityPolicy(quirks=frozenset({Quirk.UNSIGNED_ERRORS})),
)
HOLODECK_LIKE = PMode(
    id="holodeck-like",
    # What it encrypted in 2018; its token forms need no quirk, since every form is read.
    policy=SecurityPolicy(quirks=frozenset({Quirk.OAEP_MGF1P})),
)
PRESETS: dict[str, PMode] = {
    mode.id: mode for mode in (DOMIBUS_LIKE, PEPPOL_LIKE, PHASE4_LIKE, HOLODECK_LIKE)
}
