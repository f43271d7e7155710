"""Keys and certificates on disk: with `keys.rotation`, the only file of this package that reads or writes files.

A key directory holds, in PEM, `message.key.pem` and `message.cert.pem` (leaf first, then its chain) for
signing and decryption, and `tls.key.pem` and `tls.cert.pem` for TLS; a pair `tls-client.*` is used instead of that
towards servers. While keys change it may also hold
`message.next.*` (published, not yet signing) and `message.previous.*` (no longer signing): peers may still
encrypt to either. `decryption.*` is a separate pair for the generation of AS4 that signs and decrypts with
different keys. A node that serves partners of both generations holds the keys of the second one beside its
`message.*`: `signing-ed25519.*` with `decryption-x25519.*`, `signing-p256.*` with `decryption-p256.*`. Every pair may
have a `.next` and a `.previous` (`keys.rotation`); those that decrypt are used side by side. `message` and `decryption`
may have a `.key.uri` instead of their `.key.pem` (`keys.pkcs11`, RSA only); of any other pair it is refused. The
directory is 0700 and every file 0600 or less, all ours; anything else is refused, and links are not followed.

Spec: ehmi.md 3.6, as4.md 2.6; hostile.md 1.20, KEY-18; reliability.md 6.10.
"""

import contextlib
import fcntl
import itertools
import json
import os
import shlex
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from keys.certificate import check_key, describe, load_certificates, pem, subject_facts
from keys.devca import DevelopmentAuthority, IssuedCertificate
from keys.errors import KeyStoreError, UntrustedCertificate
from keys.pkcs11 import KeyUri, load_module_key
from keys.private import FileDecrypter, FileSigner, KeyRing, SigningKey, require_pair

MAX_FILE_BYTES: Final = 1024 * 1024
_SIGNING_ROLES: Final[dict[str, type[SigningKey]]] = {
    "signing-ed25519": ed25519.Ed25519PrivateKey,
    "signing-p256": ec.EllipticCurvePrivateKey,
}
_PRIVATE: Final = (".key.pem", ".key.uri", ".cert.pem", ".next.at")
"""The ends of the names of files that a node reads at its start, and only while they are closed to others."""
_DECRYPTION_ROLES: Final = tuple(
    f"{role}{age}"
    for role in ("decryption", "message", "decryption-x25519", "decryption-p256")
    for age in ("", ".next", ".previous")
)


class KeyMaterial(Protocol):
    """A certificate chain and its private key as PEM, leaf first."""

    @property
    def certificate_pem(self) -> bytes: ...
    @property
    def key_pem(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The pair for TLS; the `ssl` module reads the files itself."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    certificate_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class KeyStore:
    """The private keys of one access point, by role.

    Attributes:
        directory: where they were read.
        signing: signs messages, receipts and signals.
        decryption: every key that may open a content key, the current one first.
        tls: the pair for TLS, as server, and as client where that has none of its own.
        own_tls_client: the pair for TLS as a client, where an authority certifies servers only.
        others: sign for partners of another generation, each with another kind of key.
    """

    directory: Path
    signing: FileSigner
    decryption: KeyRing
    tls: TlsFiles
    others: tuple[FileSigner, ...] = ()
    own_tls_client: TlsFiles | None = None

    @property
    def tls_client(self) -> TlsFiles:
        """The pair for TLS as a client: its own where there is one, else that of the server."""
        return self.own_tls_client or self.tls

    @classmethod
    def load(cls, directory: Path | str, *, tls: TlsFiles | None = None) -> "KeyStore":
        """Read a key directory; with `tls` its own pair for TLS is neither needed nor looked at.

        Raises:
            KeyStoreError: something is missing, readable by others, damaged, or does not belong together.
        """
        where = Path(directory)
        with locked(where):
            return cls._read(where, tls)

    @classmethod
    def _read(cls, where: Path, tls: TlsFiles | None) -> "KeyStore":
        pairs = {"message": load_pair(where, "message")}
        key, certificates = pairs["message"]
        signing = FileSigner(key, certificates[0], certificates[1:])
        decryption = []
        for role in _DECRYPTION_ROLES:
            if role not in pairs and not has_key(where, role):
                continue
            key, certificates = pairs.get(role) or load_pair(where, role)
            if role.startswith("decryption") or isinstance(key, rsa.RSAPrivateKey):
                decryption.append(FileDecrypter(key, certificates[0]))
        if not decryption:
            raise KeyStoreError(
                f"{where}: no key can decrypt; add decryption.key.pem and decryption.cert.pem"
            )
        return cls(
            where,
            signing,
            KeyRing(decryption),
            tls or _load_tls(where),
            _load_others(where, signing),
            None if tls or not has_key(where, "tls-client") else _load_tls(where, "tls-client"),
        )


def _load_tls(where: Path, role: str = "tls") -> TlsFiles:
    key_file = where / f"{role}.key.pem"
    if has_key(where, role) and not key_file.exists():
        raise KeyStoreError(
            f"{where / role}.key.uri: keys for TLS stay in files, as {key_file.name}"
        )
    _, found = load_pair(where, role)
    return TlsFiles(found[0], tuple(found[1:]), where / f"{role}.cert.pem", key_file)


def _load_others(where: Path, first: FileSigner) -> tuple[FileSigner, ...]:
    """The signers beside the first one: of the kind their file names, and of nobody else than the first."""
    found: list[FileSigner] = []
    for role, kind in _SIGNING_ROLES.items():
        if not has_key(where, role):
            continue
        key, certificates = load_pair(where, role)
        if not isinstance(key, kind) or isinstance(first.private_key, kind):
            raise KeyStoreError(
                f"the key of {where / role} is of another kind than its name says, or of that of message"
            )
        name = subject_facts(certificates[0]).common_name
        if name != subject_facts(first.certificate).common_name:
            raise KeyStoreError(
                f"{where / role}.cert.pem is of {name}, which is not the name in message.cert.pem"
            )
        found.append(FileSigner(key, certificates[0], certificates[1:]))
    return tuple(found)


def write_keystore(
    directory: Path | str,
    *,
    message: KeyMaterial,
    tls: KeyMaterial,
    decryption: KeyMaterial | None = None,
) -> Path:
    """Write a key directory (0700, files 0600) that `KeyStore.load` reads; existing files are not replaced.

    Raises:
        KeyStoreError: a file exists already, or cannot be written.
    """
    where = Path(directory)
    roles = {"message": message, "tls": tls}
    if decryption is not None:
        roles["decryption"] = decryption
    make_directory(where)
    for role, material in roles.items():
        write_pair(where, role, material)
    return where


def write_pair(directory: Path | str, role: str, material: KeyMaterial) -> None:
    """Write the key and the certificates of one role into a key directory.

    Raises:
        KeyStoreError: a file exists already, or cannot be written.
    """
    write_private(Path(directory) / f"{role}.key.pem", material.key_pem)
    write_private(Path(directory) / f"{role}.cert.pem", material.certificate_pem)


def load_certificate_files(paths: Iterable[Path | str]) -> tuple[x509.Certificate, ...]:
    """Read certificates (PEM, DER or PKCS #7) from files that need not be secret, in order.

    Raises:
        KeyStoreError: a file is missing, too large, or holds no certificate.
    """
    found: list[x509.Certificate] = []
    for path in paths:
        try:
            with Path(path).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
            if len(data) > MAX_FILE_BYTES:
                raise KeyStoreError(f"{path} is larger than {MAX_FILE_BYTES} octets")
            found += load_certificates(data)
        except OSError as error:
            raise KeyStoreError(f"{path} cannot be read: {error.strerror}") from error
        except UntrustedCertificate as error:
            raise KeyStoreError(f"{path}: {error.detail}") from error
    return tuple(found)


def write_certificates(path: Path | str, certificates: Iterable[x509.Certificate]) -> Path:
    """Write certificates as one PEM file, replacing what was there.

    Raises:
        KeyStoreError: the file cannot be written.
    """
    where = Path(path)
    try:
        where.write_bytes(pem(*certificates))
    except OSError as error:
        raise KeyStoreError(f"{where} cannot be written: {error.strerror}") from error
    return where


def write_authority(directory: Path | str, authority: DevelopmentAuthority) -> Path:
    """Write a development authority with its keys and revocations, for a later `load_authority`.

    Raises:
        KeyStoreError: a file exists already, or cannot be written.
    """
    where = Path(directory)
    make_directory(where)
    for role, issued in zip(("root", "issuing"), authority.keys, strict=True):
        write_pair(where, role, issued)
    revoked = [[f"{serial:x}", at.isoformat()] for serial, at in authority.revoked]
    state = {"crl_url": authority.crl_url, "ocsp_url": authority.ocsp_url, "revoked": revoked}
    write_private(where / "authority.json", json.dumps(state, indent=2).encode())
    return where


def load_authority(directory: Path | str) -> DevelopmentAuthority:
    """Read back what `write_authority` wrote.

    Raises:
        KeyStoreError: something is missing, readable by others or damaged.
    """
    where = Path(directory)
    _require_private(where, _status(where), is_directory=True)
    issued = []
    for role in ("root", "issuing"):
        key, certificates = load_pair(where, role)
        issued.append(IssuedCertificate(certificates[0], key, tuple(certificates[1:])))
    try:
        state = json.loads(read_private(where / "authority.json"))
        revoked = [(int(serial, 16), datetime.fromisoformat(at)) for serial, at in state["revoked"]]
        return DevelopmentAuthority(
            issued[0],
            issued[1],
            crl_url=state["crl_url"],
            ocsp_url=state["ocsp_url"],
            revoked=revoked,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise KeyStoreError(f"{where / 'authority.json'} is damaged") from error


def load_pair(directory: Path, role: str) -> tuple[PrivateKeyTypes, list[x509.Certificate]]:
    """Read the key and the certificates (leaf first, then its chain) of one role, and see that they belong together.

    Raises:
        KeyStoreError: as `KeyStore.load`.
    """
    key = load_key(directory, role)
    certificates = load_chain(directory, role)
    require_pair(key, certificates[0])
    return key, certificates


def load_chain(directory: Path, role: str) -> list[x509.Certificate]:
    """Read the certificates of one role, leaf first, then its chain; its key stays closed.

    Raises:
        KeyStoreError: as `KeyStore.load`.
    """
    certificate_file = directory / f"{role}.cert.pem"
    try:
        certificates = load_certificates(read_private(certificate_file))
        check_key(certificates[0])
    except UntrustedCertificate as error:
        raise KeyStoreError(f"{certificate_file}: {error.detail}") from error
    for below, above in itertools.pairwise(certificates):
        if below.issuer != above.subject:
            raise KeyStoreError(
                f"{certificate_file}: not in order, {describe(below)} is not followed by its issuer"
            )
    return certificates


def has_key(directory: Path, role: str) -> bool:
    """Tell whether there is a key of this role, in a file or in a hardware module."""
    return any((directory / f"{role}.key.{kind}").exists() for kind in ("pem", "uri"))


def load_key(directory: Path, role: str) -> PrivateKeyTypes:
    """Read the private key of one role, from a file or as a hardware module has it.

    Raises:
        KeyStoreError: as `KeyStore.load`.
    """
    key_file, uri_file = directory / f"{role}.key.pem", directory / f"{role}.key.uri"
    if uri_file.exists() and not key_file.exists():
        try:
            uri = KeyUri.parse(read_private(uri_file).decode("ascii"))
            return load_module_key(uri, read_private(uri.pin_file).decode("ascii").strip())
        except UnicodeDecodeError as error:
            raise KeyStoreError(f"{uri_file} or its PIN is no text") from error
        except KeyStoreError as error:
            raise KeyStoreError(f"{uri_file}: {error.detail}") from error
    try:
        # The key's own consistency (RSA primes, curve points) is checked: a file may be damaged.
        return load_pem_private_key(
            read_private(key_file), password=None, unsafe_skip_rsa_key_validation=False
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyStoreError(f"{key_file} holds no readable, unencrypted private key") from error


def _status(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except OSError as error:
        raise KeyStoreError(f"{path}: {error.strerror}") from error


def _require_private(path: Path, status: os.stat_result, *, is_directory: bool) -> None:
    right_kind = stat.S_ISDIR(status.st_mode) if is_directory else stat.S_ISREG(status.st_mode)
    if not right_kind:
        raise KeyStoreError(f"{path} is not a plain {'directory' if is_directory else 'file'}")
    if status.st_mode & 0o077:
        wanted = "0700" if is_directory else "0600"
        raise KeyStoreError(
            f"{path} is open to others ({stat.S_IMODE(status.st_mode):04o}); make it {wanted}:"
            f" chmod {wanted[1:]} {shlex.quote(str(path))}"
        )
    if status.st_uid != os.geteuid():
        raise KeyStoreError(f"{path} belongs to another user")


def find_open(directory: Path) -> Iterator[str]:
    """Yield what is open to others in a key directory, or is no plain file of ours, each with what to type.

    Nothing is read, and what is not there is not told: whoever loads the keys tells of that.
    """
    with contextlib.suppress(OSError):
        held = [one for one in sorted(directory.iterdir()) if one.name.endswith(_PRIVATE)]
        for path in (directory, *held):
            try:
                _require_private(path, path.lstat(), is_directory=path == directory)
            except KeyStoreError as error:
                yield error.detail


def read_private(path: Path) -> bytes:
    """Read a file that must be ours, plain, and closed to others.

    Raises:
        KeyStoreError: it is not, or it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise KeyStoreError(f"{path} cannot be read: {error.strerror}") from error
    try:
        # Asked of the open file, so that nobody can swap it between the question and the reading.
        _require_private(path, os.fstat(descriptor), is_directory=False)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_FILE_BYTES:
        raise KeyStoreError(f"{path} is larger than {MAX_FILE_BYTES} octets")
    return data


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep others from changing or reading pairs of this directory for the length of the context.

    Raises:
        KeyStoreError: the directory is missing, or open to others.
    """
    _require_private(directory, _status(directory), is_directory=True)
    # Of the directory itself, which may be on a medium that nothing can be written to.
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory that is ours alone (0700), where it is missing; raises KeyStoreError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise KeyStoreError(f"{path} cannot be made: {error.strerror}") from error


def write_private(path: Path, data: bytes) -> None:
    """Write a new file (0600) to the disk itself; one that exists is not replaced.

    Raises:
        KeyStoreError: it exists already, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise KeyStoreError(f"{path} cannot be written: {error.strerror}") from error
