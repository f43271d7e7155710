"""Who this access point is: its message keys, its party id, and what it agrees with whom.

The party id of an access point is the common name of its message certificate (silence X-7 of the EHMI
digest); its type follows the agreement. Agreements come from configuration: a preset, quirks and, for
partners outside the directory, address and certificate.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from cryptography import x509

from accesspoint.config import Configuration, ConfigurationProblem, Finding
from accesspoint.config_partner import Partner
from envelope.errors import ProcessingModeMismatch
from envelope.messaging import Party, PartyId, UserMessage
from envelope.pmode import DOMIBUS_LIKE, PRESETS, Generation, PMode, Quirk, SecuritySuite
from envelope.sbdh import PARTICIPANT_PREFIX
from envelope.wsse import Decrypter, Signer
from keys.certificate import subject_facts
from keys.errors import KeyStoreError
from keys.private import signs_with
from keys.store import KeyStore, load_certificate_files


@dataclass(slots=True)
class Identity:
    """The keys and the name under which this access point signs and decrypts.

    Keys may be replaced while the node runs, so whoever needs one asks for it once and works with what it got.
    """

    signer: Signer
    decrypter: Decrypter
    party: str
    others: tuple[Signer, ...] = ()
    """Signers of another generation, each with another kind of key."""
    hosted: Mapping[str, "Identity"] = field(default_factory=dict)
    """The identities of organisations with keys of their own, by participant; everybody else here has this one."""

    @classmethod
    def of(cls, keystore: KeyStore, party: str) -> Self:
        """The identity of `party` that a key directory gives."""
        return cls(keystore.signing, keystore.decryption, party, keystore.others)

    def take(self, other: "Identity") -> None:
        """Work with the keys of `other` from now on, which is called the same; raises KeyStoreError when it is not."""
        names = {gln: one.party for gln, one in other.hosted.items()}
        if (other.party, names) != (self.party, {g: one.party for g, one in self.hosted.items()}):
            raise KeyStoreError(
                "a message certificate has another common name: that needs a restart"
            )
        self.signer, self.decrypter, self.others = other.signer, other.decrypter, other.others
        for gln, one in other.hosted.items():
            self.hosted[gln].take(one)

    def acting_for(self, participant: str) -> "Identity":
        """The identity under which messages of this participant (`0088:` and GLN) are sent and received."""
        return self.hosted.get(participant, self)

    def named(self, party: str) -> "Identity":
        """The identity of this name; our first one where we have none of it."""
        return next((one for one in self.hosted.values() if one.party == party), self)

    def of_property(self, message: UserMessage, role: str) -> "Identity":
        """The identity of whom a four-corner property names; our first one for a stranger or nobody."""
        named = message.property(role)
        return self if named is None else self.acting_for(named.value)

    def is_own(self, party: str) -> bool:
        """Whether this is the name of an identity of ours."""
        return party == self.party or self.named(party) is not self

    def wrote(self, message: UserMessage, glns: Container[str]) -> bool:
        """Whether one of the organisations with these GLNs wrote this message, under its own name here.

        Then the message may come from us: of two organisations of one access point one writes to the other.
        """
        named = message.property("originalSender")
        if named is None or named.value.removeprefix(PARTICIPANT_PREFIX) not in glns:
            return False
        return self.acting_for(named.value).party == message.from_party.party_id.value

    @property
    def signers(self) -> tuple[Signer, ...]:
        """Everything that something of ours may be signed with."""
        return tuple(
            one for each in (self, *self.hosted.values()) for one in (each.signer, *each.others)
        )

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Every certificate that something of ours may be signed with."""
        return tuple(signer.certificate for signer in self.signers)

    def signer_for(self, suite: SecuritySuite) -> Signer:
        """The signer whose key fits; without one our first, which will say that it does not."""
        for signer in self.others:
            if signs_with(signer.certificate, suite.signature_algorithm):
                return signer
        return self.signer

    def from_party(self, mode: PMode) -> Party:
        """`eb:From` of what we send."""
        return Party(PartyId(self.party, mode.party_id_type), mode.initiator_role)

    def to_party(self, mode: PMode, partner: str) -> Party:
        """`eb:To` of what we send to the access point named `partner`."""
        return Party(PartyId(partner, mode.party_id_type), mode.responder_role)


def load_identity(
    configuration: Configuration,
    keystore: KeyStore,
    name_of: Callable[[x509.Certificate], str],
) -> Identity:
    """Who the node is, with the organisations that have keys of their own; `name_of` gives the party id.

    Raises KeyStoreError, and what `name_of` raises.
    """
    hosted: dict[str, Identity] = {}
    loaded: dict[Path, Identity] = {}
    for one in configuration.served:
        if one.keys is None:
            continue
        if one.keys not in loaded:
            keys = KeyStore.load(one.keys, tls=keystore.tls)
            loaded[one.keys] = Identity.of(keys, name_of(keys.signing.certificate))
        hosted[PARTICIPANT_PREFIX + one.gln] = loaded[one.keys]
    first = Identity.of(keystore, name_of(keystore.signing.certificate))
    parties = [first.party, *(each.party for each in loaded.values())]
    if len(set(parties)) < len(parties):
        # Then nobody could tell for whom a message is.
        raise KeyStoreError("two message certificates of this node have one common name")
    return replace(first, hosted=hosted)


@dataclass(frozen=True, slots=True)
class Agreements:
    """The processing mode per partner, by party id; others get the default."""

    default: PMode = DOMIBUS_LIKE
    by_party: Mapping[str, PMode] = field(default_factory=dict)
    exchanges: Mapping[str, tuple[PMode, ...]] = field(default_factory=dict)
    """The P-Modes of partners that have several; all of one partner share its security."""
    speaks_for: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By party id, whose messages a partner brings, by GLN; a partner of whom that is not said is left out."""

    @property
    def modes(self) -> tuple[PMode, ...]:
        """Every agreement there is, the default first."""
        return (self.default, *self.by_party.values())

    def mode_for(self, party: str) -> PMode:
        """The agreement with this party."""
        return self.by_party.get(party, self.default)

    def agreed_with(self, party: str) -> tuple[PMode, ...]:
        """Every P-Mode that a message from this party may belong to."""
        return self.exchanges.get(party) or (self.mode_for(party),)

    def require_speaker(self, party: str, gln: str, *, is_ours: bool) -> None:
        """Hold who brings a message against the organisation that wrote it; `is_ours` when we serve this one.

        An organisation that is ours, or that a partner is said to speak for, is believed from nobody else.

        Raises ProcessingModeMismatch (`pmode.sender`).
        """
        speakers = {one for one, spoken_for in self.speaks_for.items() if gln in spoken_for}
        if party not in speakers and (speakers or is_ours or party in self.speaks_for):
            raise ProcessingModeMismatch(
                "the access point does not speak for the original sender", reason="pmode.sender"
            )

    def mode_to(self, party: str, *, service: str, action: str) -> PMode | None:
        """The P-Mode to send such a message to this party under, or None where none is agreed."""
        for mode in self.agreed_with(party):
            if mode.service in (None, service) and mode.action in (None, action):
                return mode
        return None


def build_agreements(
    partners: Mapping[str, Partner],
    default: tuple[Generation, ...] = (Generation.V1_15,),
) -> tuple[Agreements, dict[str, tuple[x509.Certificate, ...]]]:
    """The agreements that the configuration names, and the certificates agreed with partners, both by party id.

    The party id of a partner is the common name of its configured certificate, else its name in the file; without one
    it has no certificates. `default` are the generations for whom the directory finds.
    """
    modes: dict[str, PMode] = {}
    exchanges: dict[str, tuple[PMode, ...]] = {}
    speaks_for: dict[str, frozenset[str]] = {}
    certificates: dict[str, tuple[x509.Certificate, ...]] = {}
    for name, partner in partners.items():
        agreed = partner_certificates(partner)
        party = party_of(name, agreed)
        mode = mode_of(partner, default)
        if modes.setdefault(party, mode) != mode:
            raise ConfigurationProblem(
                (
                    Finding(
                        "[partners]",
                        f"{name} is the access point {party} like another partner, but agreed otherwise",
                    ),
                )
            )
        exchanges[party] = (*exchanges.get(party, ()), *modes_of(name, partner, mode))
        if partner.speaks_for:
            speaks_for[party] = speaks_for.get(party, frozenset()) | {*partner.speaks_for}
        certificates[party] = (*certificates.get(party, ()), *agreed)
    return Agreements(DOMIBUS_LIKE.knowing(default), modes, exchanges, speaks_for), certificates


def partner_certificates(partner: Partner) -> tuple[x509.Certificate, ...]:
    """The certificates agreed with a partner, none when the directory is asked; raises KeysError."""
    return () if partner.certificate is None else holder_certificates(partner.certificate)


def holder_certificates(file: Path) -> tuple[x509.Certificate, ...]:
    """The first certificate of a file, and the others of the same holder; raises KeysError."""
    first, *others = load_certificate_files([file])
    name = subject_facts(first).common_name
    # The file may hold the issuing authorities too; they do not speak for the holder.
    return (first, *(one for one in others if name and subject_facts(one).common_name == name))


def party_of(name: str, agreed: Sequence[x509.Certificate]) -> str:
    """The party id of the partner `name`: the common name of its certificate, else the name itself."""
    return (subject_facts(agreed[0]).common_name if agreed else None) or name


def mode_of(partner: Partner, default: tuple[Generation, ...] = (Generation.V1_15,)) -> PMode:
    """The effective agreement with a partner: its preset, and what its table says besides."""
    mode = with_quirks(PRESETS[partner.preset], frozenset(partner.quirks))
    unsaid = default if partner.certificate is None else (Generation.V1_15,)
    mode = mode.knowing(partner.generations or unsaid)
    said = partner.said()
    if partner.party_id_type is not None:
        said["party_id_type"] = partner.party_id_type
    tokens: dict[str, Any] = {
        name: getattr(partner, name)
        for name in ("signing_token", "encryption_token", "inclusive_prefixes", "signed_errors")
        if getattr(partner, name) is not None
    }
    return replace(mode, mep=partner.mep, suite=replace(mode.suite, **tokens), **said)


def modes_of(name: str, partner: Partner, mode: PMode) -> tuple[PMode, ...]:
    """The P-Modes of the partner `name`: those of its table, else `mode` alone, open for every service."""
    return tuple(
        replace(mode, id=f"{name}.{key}", **values.said()) for key, values in partner.pmodes.items()
    ) or (replace(mode, id=name),)


def with_quirks(mode: PMode, quirks: frozenset[Quirk]) -> PMode:
    """The same agreement, with what this partner does differently besides."""
    return replace(mode, policy=replace(mode.policy, quirks=mode.policy.quirks | quirks))
