"""Keys in a hardware module, with SoftHSM as the module: they sign and open, and never leave it."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from bundle_parts import bundle_of
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keys import pkcs11 as pkcs11_keys
from keys import rotation
from keys.errors import KeyStoreError, KeyUnavailable
from keys.pkcs11 import KeyUri, _without_oaep, load_module_key
from keys.private import RSA_OAEP, RSA_SHA256, RSA_SHA512
from keys.roles import Role
from keys.store import KeyStore, write_pair

from .conftest import AT

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "13571357"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
MGF1_SHA256 = "http://www.w3.org/2009/xmlenc11#mgf1sha256"
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class Token:
    """One token with one RSA key, made by the module itself."""

    def __init__(self, directory: Path) -> None:
        import pkcs11

        self.tokens = directory / "tokens"
        self.tokens.mkdir()
        conf = directory / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {directory / 'tokens'}\nlog.level = ERROR\n")
        os.environ["SOFTHSM2_CONF"] = str(conf)
        made = [
            "softhsm2-util",
            "--init-token",
            "--free",
            "--label",
            "ap",
            "--so-pin",
            PIN,
            "--pin",
            PIN,
        ]
        subprocess.run(made, check=True, capture_output=True)
        token = pkcs11.lib(str(MODULE)).get_token(token_label="ap")
        with token.open(user_pin=PIN, rw=True) as session:
            session.generate_keypair(pkcs11.KeyType.RSA, 2048, label="message", store=True)
        self.pin_file = directory / "pin"
        self.pin_file.write_text(f"{PIN}\n")
        self.pin_file.chmod(0o600)
        self.uri = (
            f"pkcs11:token=ap;object=message?module-path={MODULE}&pin-source=file:{self.pin_file}"
        )

    def take_out(self) -> None:
        self.tokens.rename(self.tokens.with_suffix(".out"))
        self.tokens.mkdir()

    def put_back(self) -> None:
        shutil.rmtree(self.tokens)
        self.tokens.with_suffix(".out").rename(self.tokens)

    @property
    def key(self):
        return load_module_key(KeyUri.parse(self.uri), PIN)


@pytest.fixture(scope="session")
def token(tmp_path_factory):
    pytest.importorskip("pkcs11", reason="the extra pkcs11 is not installed")
    if not MODULE.exists() or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed (Debian: softhsm2)")
    return Token(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture
def directory(token, pki, tmp_path):
    issued = pki.leaf(key=token.key)
    where = tmp_path / "keys"
    where.mkdir(mode=0o700)
    (where / "message.key.uri").write_text(f"{token.uri}\n")
    (where / "message.cert.pem").write_bytes(issued.certificate_pem)
    for path in where.iterdir():
        path.chmod(0o600)
    tls = pki.authority.issue_tls_certificate(
        "a", san=["a"], not_before=AT, private_key=pki.curve_key
    )
    write_pair(where, "tls", tls)
    return where


class Wrapped:
    """A content key wrapped for a certificate, as a sender writes it."""

    algorithm, digest_algorithm, mgf_algorithm, agreement = RSA_OAEP, SHA256, MGF1_SHA256, None

    def __init__(self, certificate: x509.Certificate, content_key: bytes) -> None:
        public_key = certificate.public_key()
        assert isinstance(public_key, rsa.RSAPublicKey)
        self.cipher_value = public_key.encrypt(content_key, OAEP)


def test_a_key_directory_signs_and_opens_with_a_key_that_is_not_in_it(directory):
    store = KeyStore.load(directory)
    assert not (directory / "message.key.pem").exists()
    public_key = store.signing.certificate.public_key()
    for algorithm, digest in ((RSA_SHA256, hashes.SHA256()), (RSA_SHA512, hashes.SHA512())):
        signed = store.signing.sign(b"text", algorithm)
        public_key.verify(signed, b"text", padding.PKCS1v15(), digest)
    (decrypter,) = store.decryption.decrypters
    for content_key in (b"k" * 16, b"l" * 32):
        assert decrypter.unwrap(Wrapped(decrypter.certificate, content_key)) == content_key
    damaged = Wrapped(decrypter.certificate, b"k" * 16)
    damaged.cipher_value = bytes(256)
    opposite = decrypter.certificate.public_key().public_numbers().n - 1
    one = (1).to_bytes(256, "big")
    (session,) = pkcs11_keys._sessions.values()
    for value in (bytes(256), one, opposite.to_bytes(256, "big"), b"\xff" * 256, b"short"):
        damaged.cipher_value = value
        with pytest.raises(ValueError, match=r"^the wrapped content key cannot be opened$"):
            decrypter.unwrap(damaged)
    assert list(pkcs11_keys._sessions.values()) == [session]


def test_a_session_that_was_lost_is_opened_anew(directory):
    store = KeyStore.load(directory)
    (decrypter,) = store.decryption.decrypters
    wrapped = Wrapped(decrypter.certificate, b"k" * 16)
    signed = store.signing.sign(b"text", RSA_SHA256)
    for _ in range(2):
        (session,) = pkcs11_keys._sessions.values()
        session.close()
        assert decrypter.unwrap(wrapped) == b"k" * 16
        assert store.signing.sign(b"text", RSA_SHA256) == signed
    (session,) = pkcs11_keys._sessions.values()
    session.close()
    wrapped.cipher_value = b"\x01" * 256
    with pytest.raises(ValueError, match="cannot be opened"):
        decrypter.unwrap(wrapped)


def test_a_token_that_is_gone_is_no_fault_of_the_message(directory, token, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(pkcs11_keys, "time", SimpleNamespace(monotonic=lambda: now))
    store = KeyStore.load(directory)
    (decrypter,) = store.decryption.decrypters
    wrapped = Wrapped(decrypter.certificate, b"k" * 16)
    (session,) = pkcs11_keys._sessions.values()
    session.close()
    token.take_out()
    try:
        for _ in range(2):
            with pytest.raises(KeyUnavailable, match="the token ap does not answer: NoSuchToken"):
                decrypter.unwrap(wrapped)
            with pytest.raises(KeyUnavailable):
                store.signing.sign(b"text", RSA_SHA256)
    finally:
        token.put_back()
    # Who asks again at once does not have the module started anew each time.
    now += 0.99
    with pytest.raises(KeyUnavailable, match="the token ap does not answer: NoSuchToken"):
        decrypter.unwrap(wrapped)
    assert pkcs11_keys._sessions == {}
    now += 0.02
    assert decrypter.unwrap(wrapped) == b"k" * 16
    store.signing.sign(b"text", RSA_SHA256)


class Stumbling:
    """A key whose module fails at these ciphertexts, or at all, so many times."""

    def __init__(self, handle, *, times: int, only: bytes | None = None) -> None:
        self._handle, self._times, self._only = handle, times, only

    def decrypt(self, octets: bytes, **how):
        import pkcs11

        if self._times > 0 and self._only in (None, octets):
            self._times -= 1
            raise pkcs11.FunctionFailed
        return self._handle.decrypt(octets, **how)


def test_what_the_module_fails_at_is_at_fault_only_where_the_module_opens_something_else(token):
    key = token.key
    found = key._found
    ciphertext = key.public_key().encrypt(b"k" * 16, OAEP)
    # The data is at fault: the session stays, so nobody else notices.
    key._found = replace(found, handle=Stumbling(found.handle, times=9, only=ciphertext))
    with pytest.raises(ValueError, match="cannot be opened"):
        key.decrypt(ciphertext, OAEP)
    assert list(pkcs11_keys._sessions.values()) == [found.session]
    # It stumbled once.
    key._found = replace(found, handle=Stumbling(found.handle, times=1))
    assert key.decrypt(ciphertext, OAEP) == b"k" * 16
    assert list(pkcs11_keys._sessions.values()) == [found.session]
    # It opens nothing: the session is at fault.
    key._found = replace(found, handle=Stumbling(found.handle, times=9))
    assert key.decrypt(ciphertext, OAEP) == b"k" * 16
    assert list(pkcs11_keys._sessions.values()) == [key._found.session] != [found.session]


def test_a_module_that_gives_its_key_and_opens_nothing_is_not_started_for_each_message(
    token, monkeypatch
):
    key, find, given = token.key, pkcs11_keys._find, []

    def find_broken(uri, pin):
        given.append(find(uri, pin))
        return replace(given[-1], handle=Stumbling(given[-1].handle, times=99))

    ciphertext = key.public_key().encrypt(b"k" * 16, OAEP)
    now = 1000.0
    monkeypatch.setattr(pkcs11_keys, "time", SimpleNamespace(monotonic=lambda: now))
    with monkeypatch.context() as broken:
        broken.setattr(pkcs11_keys, "_find", find_broken)
        pkcs11_keys._sessions.clear()
        for _ in range(3):
            with pytest.raises(KeyUnavailable, match="FunctionFailed"):
                key.decrypt(ciphertext, OAEP)
        assert len(given) == 1
    now += 1.01
    assert key.decrypt(ciphertext, OAEP) == b"k" * 16


def test_a_pin_that_was_refused_is_not_tried_again(token):
    """SoftHSM counts no wrong PINs, others lock the token after a few."""
    key, uri = token.key, KeyUri.parse(token.uri)
    (session,) = pkcs11_keys._sessions.values()
    session.close()
    pkcs11_keys._sessions.clear()
    with pytest.raises(KeyStoreError, match="PinIncorrect"):
        load_module_key(uri, "24682468")
    assert pkcs11_keys._refused_pins == {(uri.module, uri.token): "24682468"}
    token.take_out()
    try:
        with pytest.raises(KeyStoreError, match="PinIncorrect"):
            load_module_key(uri, "24682468")
        with pytest.raises(KeyStoreError, match="NoSuchToken"):
            load_module_key(uri, PIN)
    finally:
        token.put_back()
    assert key.sign(b"text", padding.PKCS1v15(), hashes.SHA256())


def test_the_key_does_not_leave_its_module(token):
    key = token.key
    with pytest.raises(UnsupportedAlgorithm, match="does not leave"):
        key.private_numbers()
    with pytest.raises(UnsupportedAlgorithm, match="does not leave"):
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UnsupportedAlgorithm):
        key.sign(b"", padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    with pytest.raises(ValueError, match="cannot be opened"):
        key.decrypt(bytes(256), padding.PKCS1v15())
    assert PIN not in repr(key)


def test_a_rotation_from_the_module_to_a_file_and_back_is_the_same_walk(directory, pki, token):
    first = KeyStore.load(directory).signing.certificate
    following = pki.leaf(key=pki.other_key)
    rotation.import_answer(directory, Role.MESSAGE, bundle_of(following))
    assert KeyStore.load(directory).signing.certificate == first
    rotation.schedule(directory, Role.MESSAGE, AT)
    rotation.promote_due(directory, AT)
    store = KeyStore.load(directory)
    assert store.signing.certificate == following.certificate
    assert store.decryption.certificates == (following.certificate, first)
    assert (directory / "message.previous.key.uri").exists()
    rotation.finish(directory, Role.MESSAGE)
    assert not list(directory.glob("message.previous.*"))


def test_what_the_uri_does_not_find_is_told_without_the_pin(directory, token):
    uri = directory / "message.key.uri"
    cases = [
        (token.uri.replace("object=message", "object=other"), "does not give the RSA key other"),
        (token.uri.replace("token=ap", "token=else"), "does not give the RSA key"),
        (token.uri.replace("libsofthsm2", "absent"), "does not give the RSA key"),
        (token.uri + "&pin-value=1", "exactly"),
        ("file:/etc/passwd", "begins with pkcs11:"),
        (token.uri.replace(str(token.pin_file), "/absent"), "cannot be read"),
    ]
    for text, why in cases:
        uri.write_text(text)
        with pytest.raises(KeyStoreError, match=why) as caught:
            KeyStore.load(directory)
        assert PIN not in str(caught.value)
    uri.write_text(token.uri)
    token.pin_file.chmod(0o644)
    try:
        with pytest.raises(KeyStoreError, match="open to others"):
            KeyStore.load(directory)
    finally:
        token.pin_file.chmod(0o600)


def test_oaep_is_taken_off_as_the_library_puts_it_on_and_nothing_else_is(pki):
    """The padding itself, against the library's, with every octet of it damaged in turn."""
    key = pki.leaf_key
    numbers = key.private_numbers()
    size = key.key_size // 8

    def raw(ciphertext: bytes) -> bytes:
        opened = pow(int.from_bytes(ciphertext, "big"), numbers.d, numbers.public_numbers.n)
        return opened.to_bytes(size, "big")

    block = raw(key.public_key().encrypt(b"0123456789abcdef", OAEP))
    assert _without_oaep(block, "sha256", "sha256") == b"0123456789abcdef"
    empty = raw(key.public_key().encrypt(b"", OAEP))
    assert _without_oaep(empty, "sha256", "sha256") == b""
    for at in range(size - 16):
        damaged = block[:at] + bytes([block[at] ^ 0x40]) + block[at + 1 :]
        with pytest.raises(ValueError, match=r"^the ciphertext cannot be opened$"):
            _without_oaep(damaged, "sha256", "sha256")
    with pytest.raises(ValueError, match="cannot be opened"):
        _without_oaep(block, "sha1", "sha1")
    with pytest.raises(ValueError, match="cannot be opened"):
        _without_oaep(b"\x00" * 60, "sha256", "sha256")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pkcs11:",
        "pkcs11:token=a;object=b",
        "pkcs11:token=a;token=b;object=c?module-path=/m&pin-source=/p",
    ],
)
def test_a_uri_names_all_four_parts_once(text):
    with pytest.raises(KeyStoreError, match="exactly"):
        KeyUri.parse(text)


def test_a_uri_is_read_with_its_escapes():
    uri = KeyUri.parse("pkcs11:token=a%20b;object=c?module-path=/m.so&pin-source=/p\n")
    assert uri == KeyUri(Path("/m.so"), "a b", "c", Path("/p"))
