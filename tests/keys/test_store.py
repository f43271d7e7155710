import datetime as dt
import os

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from keys.certificate import der, describe_key, pem
from keys.errors import KeyStoreError
from keys.private import RSA_SHA256
from keys.store import (
    MAX_FILE_BYTES,
    KeyStore,
    load_authority,
    load_certificate_files,
    write_authority,
    write_certificates,
    write_keystore,
    write_pair,
)


@pytest.fixture
def tls(pki):
    return pki.authority.issue_tls_certificate(
        "localhost", san=["localhost"], not_before=pki.at, private_key=pki.curve_key
    )


@pytest.fixture
def directory(tmp_path, pki, tls):
    return write_keystore(tmp_path / "keys", message=pki.leaf(), tls=tls)


def refused(directory, text):
    with pytest.raises(KeyStoreError, match=text) as caught:
        KeyStore.load(directory)
    assert caught.value.reason == "key.store"
    assert "PRIVATE" not in caught.value.detail


def test_directory_is_private_and_comes_back_whole(directory, pki, tls):
    assert directory.stat().st_mode & 0o777 == 0o700
    files = sorted(path.name for path in directory.iterdir())
    assert files == ["message.cert.pem", "message.key.pem", "tls.cert.pem", "tls.key.pem"]
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}

    store = KeyStore.load(str(directory))
    assert store.directory == directory
    assert store.signing.chain == (pki.authority.issuing,)
    assert store.signing.sign(b"x", RSA_SHA256)
    assert store.decryption.certificates == (store.signing.certificate,)
    assert store.tls.certificate == tls.certificate
    assert store.tls.chain == (pki.authority.issuing,)
    assert store.tls.certificate_file == directory / "tls.cert.pem"
    assert store.tls.key_file == directory / "tls.key.pem"


def test_existing_files_are_not_replaced(directory, pki, tls):
    before = (directory / "message.key.pem").read_bytes()
    with pytest.raises(KeyStoreError, match="cannot be written"):
        write_keystore(directory, message=pki.leaf(key=pki.other_key), tls=tls)
    assert (directory / "message.key.pem").read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o610])
def test_file_open_to_others_is_refused(directory, mode):
    (directory / "message.key.pem").chmod(mode)
    refused(directory, f"open to others \\(0{mode:o}\\); make it 0600")


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_directory_open_to_others_is_refused(directory, mode):
    directory.chmod(mode)
    refused(directory, "make it 0700")


def test_file_that_only_we_may_read_is_fine(directory):
    (directory / "message.key.pem").chmod(0o400)
    assert KeyStore.load(directory).signing


def test_link_is_not_followed(directory, tmp_path):
    key = directory / "message.key.pem"
    key.rename(tmp_path / "elsewhere.pem")
    key.symlink_to(tmp_path / "elsewhere.pem")
    refused(directory, "cannot be read")


def test_linked_directory_is_refused(directory, tmp_path):
    (tmp_path / "link").symlink_to(directory)
    refused(tmp_path / "link", "not a plain directory")


@pytest.mark.parametrize(
    "name", ["message.key.pem", "message.cert.pem", "tls.key.pem", "tls.cert.pem"]
)
def test_missing_file_is_named(directory, name):
    (directory / name).unlink()
    refused(directory, name)


@pytest.mark.parametrize("name", ["message.key.pem", "message.cert.pem"])
def test_damaged_file_is_named(directory, name):
    (directory / name).write_bytes(b"-----BEGIN NOTHING-----\n")
    refused(directory, name)


def test_oversized_file_is_refused(directory):
    (directory / "message.key.pem").write_bytes(bytes(MAX_FILE_BYTES + 1))
    refused(directory, "larger")


def test_directory_in_place_of_a_file_is_refused(directory):
    (directory / "message.key.pem").unlink()
    (directory / "message.key.pem").mkdir(mode=0o700)
    refused(directory, "not a plain file")


def test_missing_directory(tmp_path):
    refused(tmp_path / "nowhere", "No such file")


def test_encrypted_key_is_refused_without_asking(directory, pki):
    sealed = pki.leaf_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    (directory / "message.key.pem").write_bytes(sealed)
    refused(directory, "unencrypted")


def test_key_of_another_certificate_is_refused(directory, pki):
    (directory / "message.cert.pem").write_bytes(pki.leaf(key=pki.other_key).certificate_pem)
    refused(directory, "does not belong")


def test_chain_out_of_order_is_refused(directory, pki):
    leaf = pki.leaf().certificate
    (directory / "message.cert.pem").write_bytes(
        pem(leaf, pki.authority.root, pki.authority.issuing)
    )
    refused(directory, "not in order")


def test_key_18_keys_of_the_rollover_decrypt_but_do_not_sign(directory, pki):
    new, old = pki.leaf(key=pki.other_key), pki.leaf(name="previous")
    write_pair(directory, "message.next", new)
    write_pair(directory, "message.previous", old)
    store = KeyStore.load(directory)
    assert store.signing.certificate == store.decryption.certificates[0]
    assert store.decryption.certificates[1:] == (new.certificate, old.certificate)


def test_signing_and_agreement_keys_of_the_second_generation(tmp_path, pki, tls):
    signing = pki.leaf(key=ed25519.Ed25519PrivateKey.generate())
    agreement = pki.leaf(key=x25519.X25519PrivateKey.generate())
    alone = write_keystore(tmp_path / "alone", message=signing, tls=tls)
    refused(alone, "no key can decrypt")
    both = write_keystore(tmp_path / "both", message=signing, tls=tls, decryption=agreement)
    assert KeyStore.load(both).decryption.certificates == (agreement.certificate,)


def test_keys_of_both_generations_stand_side_by_side(directory, pki):
    ed, x = ed25519.Ed25519PrivateKey.generate(), x25519.X25519PrivateKey.generate()
    old = pki.leaf(key=x25519.X25519PrivateKey.generate())
    curve = pki.leaf(key=ec.generate_private_key(ec.SECP256R1()))
    write_pair(directory, "signing-ed25519", pki.leaf(key=ed))
    write_pair(directory, "decryption-x25519", pki.leaf(key=x))
    write_pair(directory, "decryption-x25519.previous", old)
    write_pair(directory, "signing-p256", pki.leaf(key=pki.curve_key))
    write_pair(directory, "decryption-p256", curve)
    store = KeyStore.load(directory)
    assert store.signing.private_key.key_size == 3072
    assert [describe_key(one.certificate) for one in store.others] == ["Ed25519", "EC secp256r1"]
    assert [describe_key(one) for one in store.decryption.certificates] == [
        "RSA 3072", "X25519", "X25519", "EC secp256r1"
    ]  # fmt: skip
    assert store.decryption.certificates[2] == old.certificate


@pytest.mark.parametrize("role", ["signing-ed25519", "signing-p256"])
def test_a_second_signing_key_of_the_wrong_kind_or_name_is_refused(directory, pki, role):
    right = {"signing-ed25519": ed25519.Ed25519PrivateKey.generate(), "signing-p256": pki.curve_key}
    write_pair(directory, role, pki.leaf())
    refused(directory, "of another kind")
    for file in directory.glob(f"{role}.*"):
        file.unlink()
    write_pair(directory, role, pki.leaf(key=right[role], name="somebody-else"))
    refused(directory, "is of somebody-else")


@pytest.mark.parametrize("role", ["signing-ed25519", "signing-p256", "tls-client", "tls"])
def test_a_key_in_a_module_is_refused_where_it_cannot_serve_and_never_passed_over(
    directory, pki, role
):
    for suffix in ("key.pem", "cert.pem"):
        (directory / f"{role}.{suffix}").unlink(missing_ok=True)
    uri = directory / f"{role}.key.uri"
    uri.touch(mode=0o600)
    uri.write_text("pkcs11:token=accesspoint;object=other?module-path=/no.so")
    refused(directory, f"{role}.key.uri")


def test_public_certificates_are_read_from_any_file_in_any_form(tmp_path, pki):
    root, issuing = pki.authority.root, pki.authority.issuing
    bundle = write_certificates(tmp_path / "anchors.pem", [root])
    bundle.chmod(0o644)
    (tmp_path / "issuing.cer").write_bytes(der(issuing))
    assert load_certificate_files([bundle, str(tmp_path / "issuing.cer")]) == (root, issuing)


def test_unreadable_certificate_file_is_named(tmp_path):
    (tmp_path / "empty.pem").write_bytes(b"")
    for name in ("empty.pem", "missing.pem", "."):
        with pytest.raises(KeyStoreError):
            load_certificate_files([tmp_path / name])
    (tmp_path / "big.pem").write_bytes(bytes(MAX_FILE_BYTES + 1))
    with pytest.raises(KeyStoreError, match="larger"):
        load_certificate_files([tmp_path / "big.pem"])


def test_file_that_cannot_be_written(tmp_path, pki):
    with pytest.raises(KeyStoreError, match="cannot be written"):
        write_certificates(tmp_path / "no" / "anchors.pem", [pki.authority.root])
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeyStoreError, match="cannot be made"):
        write_authority(tmp_path / "file", pki.authority)


def test_authority_comes_back_with_its_revocations(tmp_path, pki):
    first = write_authority(tmp_path / "first", pki.authority)
    authority = load_authority(first)
    leaf = pki.leaf(authority=authority)
    authority.revoke(leaf.certificate, at=pki.at)
    write_authority(tmp_path / "second", authority)

    again = load_authority(tmp_path / "second")
    assert again.root == pki.authority.root
    assert again.issuing == pki.authority.issuing
    assert again.crl_url == pki.authority.crl_url
    assert again.ocsp_url is None
    assert again.revoked == ((leaf.certificate.serial_number, pki.at),)
    assert pki.leaf(
        authority=again, ends=1
    ).certificate.not_valid_after_utc == pki.at + dt.timedelta(1)


@pytest.mark.parametrize("text", ["", "[]", '{"crl_url": null}', '{"revoked": [["zz", 1]]}'])
def test_damaged_authority_is_refused(tmp_path, pki, text):
    where = write_authority(tmp_path / "authority", pki.authority)
    (where / "authority.json").write_text(text)
    with pytest.raises(KeyStoreError, match="damaged"):
        load_authority(where)


def test_files_of_another_user_are_refused(directory, monkeypatch):
    ours = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: ours + 1)
    refused(directory, "belongs to another user")
