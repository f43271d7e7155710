"""Certificates told to people: whose, from whom, what for, how long, and why they are or are not trusted here.

Nothing is decided in this file. The rules are those of `keys.path` with the trust of the configuration, which the
node itself goes by, so what a person is told is what happens to messages.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from accesspoint.config import Configuration
from accesspoint.identity import partner_certificates
from accesspoint.problems import certificate_problem, find_problem
from keys.certificate import (
    OCES_SYSTEM_POLICY,
    certificate_policies,
    describe,
    describe_key,
    fingerprint,
    is_authority,
    subject_facts,
)
from keys.crl import distribution_points
from keys.errors import (
    Expired,
    KeysError,
    NotYetValid,
    UnknownIssuer,
    WeakKey,
    WrongPolicy,
    WrongUsage,
)
from keys.expiry import Life, remaining
from keys.ocsp import addresses as ocsp_addresses
from keys.path import Usage, ValidatedCertificate, Validator, find_issuer, why_not
from keys.revocation import RevocationMode, RevocationPolicy
from keys.roles import Age, Role
from keys.rotation import USES, held
from keys.store import load_certificate_files
from keys.trust import Purpose, TrustStore

Json = dict[str, Any]
WORDS: Final = {
    Usage.SIGNING: "sign messages and receipts",
    Usage.ENCRYPTION: "have messages encrypted for it",
    Usage.TLS_SERVER: "be a TLS server",
    Usage.TLS_CLIENT: "be a TLS client",
}
PURPOSES: Final = {
    Usage.SIGNING: Purpose.MESSAGE,
    Usage.ENCRYPTION: Purpose.MESSAGE,
    Usage.TLS_SERVER: Purpose.TLS,
    Usage.TLS_CLIENT: Purpose.TLS,
}
_POLICIES: Final = {OCES_SYSTEM_POLICY: "OCES3 system certificate", "0.4.0.2042.1.1": "ETSI NCP"}
_BEFORE_THE_PATH: Final = (Expired, NotYetValid, WeakKey, WrongUsage, WrongPolicy)
"""What a certificate is refused for before anybody asks who issued it."""
_TLS_UNASKED: Final = RevocationPolicy(RevocationMode.OFF, "revocation is not checked for TLS")


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate with a name that a person knows it by, and what was found above it."""

    label: str
    certificates: tuple[x509.Certificate, ...]
    uses: tuple[Usage, ...] = (Usage.SIGNING, Usage.ENCRYPTION)
    ours: bool = False
    """Whether we hold the key."""

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate itself."""
        return self.certificates[0]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a certificate is trusted for one use, and why; `problem` is the slug where it is not."""

    usage: Usage
    why: str
    evidence: ValidatedCertificate | None = None
    problem: str | None = None

    @property
    def trusted(self) -> bool:
        """Whether it is."""
        return self.problem is None


def describe_whole(certificate: x509.Certificate, at: datetime) -> Json:
    """Everything a person may want to know of a certificate, as values; text from it is free of control characters."""
    facts = subject_facts(certificate)
    left = remaining(certificate, at)
    refusals = {usage: why_not(certificate, usage) for usage in Usage}
    return {
        "subject": plain(certificate.subject.rfc4514_string()),
        "common_name": plain(facts.common_name or ""),
        "organization": plain(facts.organization or ""),
        "cvr": facts.cvr,
        "serial_number_of_subject": plain(facts.serial_number or ""),
        "issuer": plain(certificate.issuer.rfc4514_string()),
        "serial": f"{certificate.serial_number:x}",
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "life": str(left.life),
        "seconds_left": int(left.seconds),
        "renew_from": left.renew_from.isoformat(),
        "remaining": plain(left.sentence),
        "key": describe_key(certificate),
        "may": [str(usage) for usage, refusal in refusals.items() if refusal is None],
        "may_not": {str(usage): plain(why) for usage, why in refusals.items() if why is not None},
        "policies": list(certificate_policies(certificate)),
        "names": [plain(name) for name in alternative_names(certificate)],
        "crl": [plain(address) for address in distribution_points(certificate)],
        "ocsp": [plain(address) for address in ocsp_addresses(certificate)],
        "sha256": fingerprint(certificate),
    }


def render(told: Json) -> Iterator[str]:
    """The same as lines for a person."""
    yield f"subject    {told['subject']}"
    if told["cvr"]:
        yield f"           {told['organization']}, CVR {told['cvr']}"
    yield f"serial     {told['serial']}"
    yield f"issuer     {told['issuer']}"
    yield f"valid      {told['not_before'][:10]} to {told['not_after'][:10]}: {told['remaining']}"
    yield f"key        {told['key']}"
    for usage in Usage:
        if (why := told["may_not"].get(usage)) is None:
            yield f"may        {WORDS[usage]}"
        else:
            yield f"may not    {WORDS[usage]}: {why}"
    for policy in told["policies"]:
        yield f"policy     {policy} {_POLICIES.get(policy, '')}".rstrip()
    if told["names"]:
        yield f"names      {', '.join(told['names'])}"
    for kind in ("crl", "ocsp"):
        for address in told[kind]:
            yield f"{kind:10} {address}"
    yield f"sha256     {told['sha256']}"


def chain_lines(certificates: Sequence[x509.Certificate]) -> Iterator[str]:
    """The certificates above a leaf, one a line; what is missing above them is said."""
    for certificate in certificates[1:]:
        yield f"chain      {plain(describe(certificate))}"
    top = certificates[-1]
    if top.issuer != top.subject:
        yield f"chain      above it: {plain(top.issuer.rfc4514_string())} (not in the file)"


def plain(text: str) -> str:
    """Text without control characters and without characters that turn the direction of a line."""
    return "".join(c if c.isprintable() else "�" for c in text)


def own_certificates(
    configuration: Configuration, at: datetime
) -> Iterator[tuple[Path, Shown, Age, datetime | None]]:
    """Every pair of our key directories, those of organisations with keys of their own included; raises KeysError."""
    for directory in key_holders(configuration):
        for pair in held(directory, at):
            uses = USES[pair.role]
            yield (
                directory,
                Shown(str(pair.role), pair.certificates, uses, ours=True),
                pair.age,
                pair.since,
            )


def due(configuration: Configuration, at: datetime) -> list[str]:
    """A sentence for each certificate that ends soon or has ended: ours that are active, and those of partners.

    No key is opened. A file that cannot be read says nothing here; whoever works with it tells.
    """
    found: list[str] = []
    places = [
        (f"{role} of {holder}" if holder else str(role), directory / f"{role}.cert.pem")
        for directory, holder in key_holders(configuration).items()
        for role in Role
    ]
    places += [
        (f"partner {name}", partner.certificate)
        for name, partner in configuration.partners.items()
        if partner.certificate is not None
    ]
    for label, path in places:
        with contextlib.suppress(KeysError):
            left = remaining(load_certificate_files([path])[0], at)
            if left.life is not Life.VALID:
                found.append(plain(f"{label}: {left.sentence}"))
    return found


def key_holders(configuration: Configuration) -> dict[Path, str]:
    """The node's key directory, whose holder has no name, and those of organisations with keys of their own."""
    found = {configuration.keys.directory: ""}
    for one in configuration.served:
        if one.keys is not None:
            found.setdefault(one.keys, one.name)
    return found


def named(configuration: Configuration, name: str, at: datetime) -> Shown | None:
    """The certificate of a partner, or of a role of ours, such as `message` or `message.next`; raises KeysError."""
    if name in configuration.partners:
        found = partner_certificates(configuration.partners[name])
        return Shown(f"partner {name}", found) if found else None
    role, _, age = name.partition(".")
    if role not in set(Role):
        return None
    for pair in held(configuration.keys.directory, at):
        if pair.role == role and pair.age == (age or Age.ACTIVE) and pair.certificates:
            return Shown(f"our {name}", pair.certificates, USES[pair.role], ours=True)
    return None


def tls_trust(configuration: Configuration) -> TrustStore:
    """Whom [trust.tls] trusts: authorities, or the very certificates where it names no authority; raises KeysError."""
    settings = configuration.trust.tls
    if settings is None:
        return TrustStore(Purpose.TLS)
    anchors = load_certificate_files(settings.anchors)
    authorities = tuple(one for one in anchors if is_authority(one))
    pins = frozenset(fingerprint(one) for one in anchors if not is_authority(one))
    intermediates = load_certificate_files(settings.intermediates) if authorities else ()
    return TrustStore(Purpose.TLS, authorities, intermediates, pins)


def judge(shown: Shown, usage: Usage, *, validator: Validator, at: datetime) -> Verdict:
    """Whether the certificate is trusted for a use; a refusal says why in a sentence and whose it is by its slug."""
    try:
        evidence = validator.validate(shown.leaf, shown.certificates[1:9], usage=usage, at=at)
    except KeysError as error:
        why = plain(error.detail)
        trust = validator.trust
        unknown = isinstance(error, _BEFORE_THE_PATH) and _is_of_nobody(shown, trust)
        if unknown:
            why += f"; nor did anybody whom we trust for {trust.purpose} issue it"
        if unknown or isinstance(error, UnknownIssuer):
            trusted = [_short(anchor) for anchor in trust.anchors]
            why += f"; trusted for {trust.purpose}: {', '.join(trusted) or 'nobody'}"
        return Verdict(usage, why, problem=certificate_problem(error.reason))
    proof = "; ".join(
        dict.fromkeys(f"revocation {entry.status}: {entry.why}" for entry in evidence.revocation)
    )
    return Verdict(usage, plain(f"{evidence.why}; {proof}"), evidence)


def _is_of_nobody(shown: Shown, trust: TrustStore) -> bool:
    """Whether neither pin nor anchor stands above a certificate; the rules stopped at something else before they asked."""
    if not trust.anchors or trust.is_pinned(shown.leaf):
        return not trust.is_pinned(shown.leaf)
    current, above = shown.leaf, [*trust.anchors, *trust.intermediates, *shown.certificates[1:9]]
    for _ in above:
        parent = find_issuer(current, above)
        if parent is None or trust.is_anchor(parent):
            return parent is None
        current = parent
    return True


def refusal_lines(shown: Shown, verdict: Verdict) -> str:
    """The refusal in the five parts of a problem; for a certificate of ours with what we do about it."""
    assert verdict.problem is not None  # noqa: S101 - of a refusal only
    problem = find_problem(verdict.problem)
    text = problem.render(certificate=plain(describe(shown.leaf)), detail=verdict.why, by_hand=True)
    if shown.ours:
        role = shown.label.removeprefix("our ").partition(".")[0]
        text += f"\n  do: it is our own: accesspoint cert request {role}"
    return text


def tls_validator(configuration: Configuration) -> Validator:
    """The rules for TLS certificates, as far as they can be asked without a connection; raises KeysError."""
    return Validator(tls_trust(configuration), revocation=_TLS_UNASKED)


def alternative_names(
    certificate: x509.Certificate | x509.CertificateSigningRequest,
) -> Iterator[str]:
    """The hosts and other names that a certificate is for, or is asked for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    yield from (str(getattr(name, "value", name)) for name in names)


def _short(certificate: x509.Certificate) -> str:
    return plain(subject_facts(certificate).common_name or certificate.subject.rfc4514_string())
