"""A new key takes over from an old one: requested, imported, next, active, previous, gone.

Each pair of a key directory walks that way under file names of its own: `message.request.*` waits for its
certificate, `message.next.*` may already be published and opens what partners encrypt for it, `message.*`
signs, `message.previous.*` still opens what was encrypted before partners knew better. Partners and we change
at different times, so decryption holds all of them and signing exactly one.

`message.next.at` holds the moment from which the next pair is the active one. A switch is several renames; each
is done only where it still has to be, and the moment is renamed last, to `message.previous.since`, so a switch that was
interrupted is finished by whoever looks next. A lock on the directory keeps readers and writers of one pair apart.

Spec: hostile.md KEY-18; ehmi.md 3.6.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from keys.bundle import Bundle, order_chain
from keys.certificate import check_key, describe, describe_key, pem, subject_facts
from keys.errors import BundleRefused, KeyStoreError, WrongUsage
from keys.path import Usage, why_not
from keys.request import build_request, new_key
from keys.roles import Age, Role
from keys.store import (
    has_key,
    load_chain,
    load_key,
    load_pair,
    locked,
    make_directory,
    read_private,
    write_private,
)

USES: Final[Mapping[Role, tuple[Usage, ...]]] = {
    Role.MESSAGE: (Usage.SIGNING, Usage.ENCRYPTION),
    Role.DECRYPTION: (Usage.ENCRYPTION,),
    Role.TLS: (Usage.TLS_SERVER, Usage.TLS_CLIENT),
    Role.TLS_CLIENT: (Usage.TLS_CLIENT,),
    Role.SIGNING_ED25519: (Usage.SIGNING,),
    Role.DECRYPTION_X25519: (Usage.ENCRYPTION,),
    Role.SIGNING_P256: (Usage.SIGNING,),
    Role.DECRYPTION_P256: (Usage.ENCRYPTION,),
}
_KINDS: Final[Mapping[Role, str]] = {
    Role.MESSAGE: "RSA",
    Role.SIGNING_ED25519: "Ed25519",
    Role.DECRYPTION_X25519: "X25519",
    Role.SIGNING_P256: "EC secp256r1",
    Role.DECRYPTION_P256: "EC secp256r1",
}
"""How the kind of key begins its description where a role has only one; message has where no other pair decrypts."""
_DECRYPT: Final = (Role.DECRYPTION, Role.DECRYPTION_X25519, Role.DECRYPTION_P256)
_SIGN: Final = (Role.MESSAGE, Role.SIGNING_ED25519, Role.SIGNING_P256)
_KEY_SUFFIXES: Final = ("key.pem", "key.uri")
_SUFFIXES: Final = (*_KEY_SUFFIXES, "cert.pem")
_SINCE: Final = "since"


@dataclass(frozen=True, slots=True)
class Held:
    """One pair of a key directory, without its key.

    `certificates` are leaf first, none for a pair that waits for its certificate; `since` is when a next pair
    takes over, where that was said.
    """

    role: Role
    age: Age
    certificates: tuple[x509.Certificate, ...]
    since: datetime | None = None


def file_name(role: Role, age: Age, suffix: str) -> str:
    """Return the name of a file of a pair, such as `message.next.cert.pem`."""
    return f"{role}.{suffix}" if age is Age.ACTIVE else f"{role}.{age}.{suffix}"


def held(directory: Path, at: datetime) -> list[Held]:
    """List the pairs of a directory, by role and then by age, after every switch that is due at this time.

    Raises:
        KeyStoreError: as `KeyStore.load`, but for keys in a hardware module: none of them is looked for.
    """
    if not directory.exists():
        return []
    with locked(directory):
        promote_due(directory, at)
        return [
            _held(directory, role, age)
            for role in Role
            for age in (Age.ACTIVE, Age.NEXT, Age.REQUESTED, Age.PREVIOUS)
            if has_key(directory, _stem(role, age))
        ]


def _held(directory: Path, role: Role, age: Age) -> Held:
    if age is Age.REQUESTED:
        return Held(role, age, ())
    stem = _stem(role, age)
    # A module may be away, and counts the wrong PINs of those who only look.
    in_file = (directory / file_name(role, age, "key.pem")).exists()
    certificates = load_pair(directory, stem)[1] if in_file else load_chain(directory, stem)
    since = scheduled(directory, role) if age is Age.NEXT else None
    return Held(role, age, tuple(certificates), since)


def request(
    directory: Path,
    role: Role,
    *,
    subject: x509.Name | None = None,
    names: Sequence[str] | None = None,
) -> Path:
    """Make a private key that waits for its certificate, and the request (PKCS #10, PEM) to send to an authority.

    Args:
        directory: made (0700) where it is missing.
        role: decides the kind of key: RSA-3072, or what the role's name says.
        subject: whose certificate is asked for; that of the active pair unless given.
        names: DNS names and IP addresses; those of the active pair unless given.

    Raises:
        KeyStoreError: a request waits already (`request.waiting`), there is no subject, or the files cannot be written.
    """
    make_directory(directory)
    with _changing(directory):
        active = directory / file_name(role, Age.ACTIVE, "cert.pem")
        present = load_pair(directory, role)[1][0] if active.exists() else None
        wanted = subject if subject is not None or present is None else present.subject
        if wanted is None:
            raise KeyStoreError(f"there is no {role} certificate yet, so a subject has to be given")
        key_file = directory / file_name(role, Age.REQUESTED, "key.pem")
        if key_file.exists():
            raise KeyStoreError(
                f"{key_file} waits for its certificate already; import that, or remove the file to begin anew",
                reason="request.waiting",
            )
        key = new_key(role)
        octets = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        signed = build_request(key, USES[role], wanted, names, present)
        request_file = directory / file_name(role, Age.REQUESTED, "csr.pem")
        # Without its key it is worth nothing, so an earlier one is in nobody's way.
        request_file.unlink(missing_ok=True)
        write_private(key_file, octets)
        write_private(request_file, signed.public_bytes(Encoding.PEM))
    return request_file


def chain_for(directory: Path, role: Role, bundle: Bundle) -> tuple[x509.Certificate, ...]:
    """Return the certificate of the bundle that belongs to the waiting key, or to the bundle's own, and its chain.

    Raises:
        BundleRefused: `import.key` or `import.waiting`, as `import_answer`.
        KeyStoreError: the waiting key cannot be read.
    """
    key = _key_for(directory, role, bundle)
    waiting = directory / file_name(role, Age.REQUESTED, "key.pem")
    called = "its own key" if bundle.private_key is not None else f"the key that waits, {waiting}"
    return order_chain(bundle.certificates, key, called)


def import_answer(directory: Path, role: Role, bundle: Bundle) -> Held:
    """Take a certificate for the key that waits for it, or a key together with its certificate.

    It becomes the next pair, or the active one where there is none yet.

    Returns:
        The pair as it is kept now.

    Raises:
        BundleRefused: `import.key` when the certificate is not of the key, `import.waiting` when no key waits,
            `import.next` when another pair is next already, `import.name` when the party would get another name or
            be another organisation, `import.kind` when the key is not of the kind that the role has.
        WrongUsage: the certificate may not do what the role does.
        WeakKey: its key is refused everywhere.
        KeyStoreError: the files cannot be read or written.
    """
    make_directory(directory)
    with _changing(directory):
        waiting = directory / file_name(role, Age.REQUESTED, "key.pem")
        key = _key_for(directory, role, bundle)
        chain = chain_for(directory, role, bundle)
        age = Age.NEXT if has_key(directory, str(role)) else Age.ACTIVE
        _require_fit(directory, role, chain[0])
        if has_key(directory, _stem(role, age)):
            raise BundleRefused(
                f"a next {role} pair is here already: rotate to it first", reason="import.next"
            )
        certificate_file = directory / file_name(role, age, "cert.pem")
        # A certificate without its key counts for nothing: it may be left of an import that was interrupted.
        certificate_file.unlink(missing_ok=True)
        write_private(certificate_file, pem(*chain))
        key_file = directory / file_name(role, age, "key.pem")
        if bundle.private_key is None:
            waiting.rename(key_file)
            (directory / file_name(role, Age.REQUESTED, "csr.pem")).unlink(missing_ok=True)
        else:
            write_private(
                key_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            )
        _sync(directory)
    return Held(role, age, chain)


def schedule(directory: Path, role: Role, at: datetime) -> Held:
    """Say from when on the next pair is the active one; `promote_due` makes it so.

    Raises:
        BundleRefused: `rotate.nothing` without a next pair, `rotate.previous` while an older one still decrypts,
            `rotate.time` when the next certificate is not valid at that time.
        KeyStoreError: the files cannot be read or written.
    """
    with _changing(directory):
        if not has_key(directory, _stem(role, Age.NEXT)):
            raise BundleRefused(
                f"there is no next {role} pair to rotate to", reason="rotate.nothing"
            )
        if has_key(directory, _stem(role, Age.PREVIOUS)):
            raise BundleRefused(
                f"{role}.previous is still here, for what partners encrypt to it: finish that rotation first",
                reason="rotate.previous",
            )
        certificates = load_pair(directory, _stem(role, Age.NEXT))[1]
        leaf = certificates[0]
        if not leaf.not_valid_before_utc <= at <= leaf.not_valid_after_utc:
            raise BundleRefused(
                f"not valid at {at:%Y-%m-%d %H:%M} UTC: {describe(leaf)}", reason="rotate.time"
            )
        marker = directory / file_name(role, Age.NEXT, "at")
        marker.unlink(missing_ok=True)
        write_private(marker, f"{at.astimezone(UTC).isoformat()}\n".encode())
        _sync(directory)
    return Held(role, Age.NEXT, tuple(certificates), at)


def scheduled(directory: Path, role: Role) -> datetime | None:
    """Return when the next pair takes over, or None where nobody has said.

    Raises:
        KeyStoreError: the file that says so is damaged, or open to others.
    """
    return _moment(directory / file_name(role, Age.NEXT, "at"))


def switched(directory: Path, role: Role) -> datetime | None:
    """Return from when on the previous pair was the previous one, or None where nobody noted it.

    Raises:
        KeyStoreError: the file that says so is damaged, or open to others.
    """
    return _moment(directory / file_name(role, Age.PREVIOUS, _SINCE))


def _moment(marker: Path) -> datetime | None:
    if not marker.exists():
        return None
    try:
        at = datetime.fromisoformat(read_private(marker).decode("ascii").strip())
    except ValueError as error:
        raise KeyStoreError(f"{marker} holds no time") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def promote_due(directory: Path, at: datetime) -> list[Role]:
    """Switch every role whose time has come, and finish what was interrupted; the caller holds the lock.

    Raises:
        KeyStoreError: a file cannot be read or renamed.
    """
    done: list[Role] = []
    for role in Role:
        since = scheduled(directory, role)
        if since is None or since > at:
            continue
        try:
            for forms in (_KEY_SUFFIXES, _SUFFIXES[-1:]):
                _promote(directory, role, forms)
            _sync(directory)
            marker = directory / file_name(role, Age.NEXT, "at")
            marker.rename(directory / file_name(role, Age.PREVIOUS, _SINCE))
        except OSError as error:
            raise KeyStoreError(f"{role} cannot be rotated: {error.strerror}") from error
        done.append(role)
    return done


def finish_due(directory: Path, at: datetime) -> None:
    """Do what `promote_due` does, with the lock, where a moment was said at all.

    Raises:
        KeyStoreError: as `promote_due`.
    """
    if any((directory / file_name(role, Age.NEXT, "at")).exists() for role in Role):
        with locked(directory):
            promote_due(directory, at)


def finish(directory: Path, role: Role) -> Held:
    """Remove the previous pair: what is still encrypted for it cannot be opened any more.

    Raises:
        BundleRefused: `finish.nothing`, there is none.
        KeyStoreError: the files cannot be read or removed.
    """
    with _changing(directory):
        if not has_key(directory, _stem(role, Age.PREVIOUS)):
            raise BundleRefused(f"there is no previous {role} pair", reason="finish.nothing")
        certificates = load_pair(directory, _stem(role, Age.PREVIOUS))[1]
        for suffix in (*_SUFFIXES, _SINCE):
            (directory / file_name(role, Age.PREVIOUS, suffix)).unlink(missing_ok=True)
        _sync(directory)
    return Held(role, Age.PREVIOUS, tuple(certificates))


def _promote(directory: Path, role: Role, forms: Sequence[str]) -> None:
    """Move one thing, in whichever of its forms it is, from active to previous and from next to active."""
    following = [form for form in forms if (directory / file_name(role, Age.NEXT, form)).exists()]
    for form in forms if following else ():
        active = directory / file_name(role, Age.ACTIVE, form)
        if active.exists():
            active.rename(directory / file_name(role, Age.PREVIOUS, form))
    for form in following:
        name = file_name(role, Age.ACTIVE, form)
        (directory / file_name(role, Age.NEXT, form)).rename(directory / name)


def _key_for(directory: Path, role: Role, bundle: Bundle) -> PrivateKeyTypes:
    if bundle.private_key is not None:
        return bundle.private_key
    waiting = directory / file_name(role, Age.REQUESTED, "key.pem")
    if not waiting.exists():
        raise BundleRefused(
            f"the file has no private key, and no {waiting.name} waits for a certificate",
            reason="import.waiting",
        )
    return load_key(directory, _stem(role, Age.REQUESTED))


def _stem(role: Role, age: Age) -> str:
    return str(role) if age is Age.ACTIVE else f"{role}.{age}"


def _require_fit(directory: Path, role: Role, leaf: x509.Certificate) -> None:
    """Refuse a certificate that could not do the work of its role, or would make another party of us."""
    check_key(leaf)
    uses = USES[role]
    if role is Role.MESSAGE and has_key(directory, Role.DECRYPTION):
        uses = (Usage.SIGNING,)
    for usage in uses:
        if (reason := why_not(leaf, usage)) is not None:
            raise WrongUsage(f"{role} certificates are for {usage}, but {reason}: {describe(leaf)}")
    _require_kind(directory, role, leaf)
    if role in (Role.TLS, Role.TLS_CLIENT):
        return
    for one in (role, *_SIGN):
        if not has_key(directory, one):
            continue
        present = _held(directory, one, Age.ACTIVE).certificates[0]
        ours, theirs = (subject_facts(each) for each in (present, leaf))
        for what, known, other in (
            ("name", ours.common_name, theirs.common_name),
            ("organisation", ours.organization_identifier, theirs.organization_identifier),
        ):
            # Only OCES subjects carry the identifier of an organisation; a name they all have.
            if known != other and (what == "name" or (known and other)):
                raise BundleRefused(
                    f"the {what} in the active certificate is {known}, and partners know us by it; this one is of {other}",
                    reason="import.name",
                )
        return


def _require_kind(directory: Path, role: Role, leaf: x509.Certificate) -> None:
    """Refuse a key with which `KeyStore.load` would refuse the whole directory, now or once it is the active one."""
    kind, wanted = describe_key(leaf), _KINDS.get(role, "")
    if role is Role.MESSAGE and any(has_key(directory, one) for one in _DECRYPT):
        wanted = ""
    if not kind.startswith(wanted):
        raise BundleRefused(
            f"the key of a {role} pair is {wanted} here, and this one is {kind}",
            reason="import.kind",
        )
    for one in _SIGN if role in _SIGN else ():
        if one is role or not has_key(directory, one):
            continue
        if describe_key(load_chain(directory, one)[0]).split()[0] == kind.split()[0]:
            raise BundleRefused(
                f"the {one} pair signs with a key of this kind already: {kind}",
                reason="import.kind",
            )


@contextlib.contextmanager
def _changing(directory: Path) -> Iterator[None]:
    """Keep others away while pairs change; what the directory does not let be done is told as its fault."""
    with locked(directory):
        try:
            yield
        except OSError as error:
            where = error.filename or directory
            raise KeyStoreError(f"{where} cannot be changed: {error.strerror}") from error


def _sync(directory: Path) -> None:
    """Have the names of the directory on the disk itself before anything relies on them."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
