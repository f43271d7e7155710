import ssl

import pytest

from keys.certificate import fingerprint
from keys.devca import DevelopmentAuthority, new_rsa_keys
from keys.errors import KeyStoreError, UnknownIssuer, WrongSubject
from keys.store import write_pair
from keys.tls import (
    ClientCertificate,
    TlsSettings,
    check_pinned_peer,
    client_context,
    peer_certificate,
    server_context,
)


class Files:
    """Issues TLS certificates and keeps them in files, as the ssl module wants them."""

    def __init__(self, pki, directory):
        self.pki, self.directory, self.count = pki, directory, 0

    def issue(self, authority=None, san=("localhost",), name="localhost", **more):
        issued = (authority or self.pki.authority).issue_tls_certificate(
            name,
            san=list(san),
            # The ssl module asks the machine's clock, so these live at any plausible time.
            not_before=self.pki.at.replace(year=2020),
            not_after=self.pki.at.replace(year=2036),
            private_key=self.pki.curve_key,
            **more,
        )
        self.count += 1
        role = f"tls{self.count}"
        write_pair(self.directory, role, issued)
        paths = self.directory / f"{role}.cert.pem", self.directory / f"{role}.key.pem"
        return issued.certificate, paths


@pytest.fixture(scope="module")
def long_lived(pki):
    at = pki.at.replace(year=2025)
    keys = new_rsa_keys(4)
    return (
        DevelopmentAuthority.create(at=at, name="TLS", private_keys=keys[:2]),
        DevelopmentAuthority.create(at=at, name="Other TLS", private_keys=keys[2:]),
    )


@pytest.fixture
def files(pki, tmp_path):
    return Files(pki, tmp_path)


def shake_hands(server, client, name="localhost"):
    """Run a handshake in memory and exchange one octet, so that both sides have judged the other."""
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        server.wrap_bio(a, b, server_side=True),
        client.wrap_bio(b, a, server_hostname=name),
    )
    waiting = list(sides)
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not waiting:
            break
    assert not waiting
    sides[1].write(b"x")
    assert sides[0].read(1) == b"x"
    return sides


def test_mutual_tls_with_both_certificates_seen(files, long_lived):
    authority, _ = long_lived
    server_certificate, server_files = files.issue(authority)
    client_certificate, client_files = files.issue(authority, name="client", san=("client.test",))
    server = server_context(*server_files, authority.anchors)
    client = client_context(*client_files, authority.anchors)
    assert server.verify_mode is ssl.CERT_REQUIRED

    at_server, at_client = shake_hands(server, client)
    assert peer_certificate(at_server) == client_certificate
    assert peer_certificate(at_client) == server_certificate
    assert at_server.version() == "TLSv1.3"


def test_client_without_certificate_is_refused_when_one_is_required(files, long_lived):
    authority, _ = long_lived
    _, server_files = files.issue(authority)
    server = server_context(*server_files, authority.anchors)
    with pytest.raises(ssl.SSLError):
        shake_hands(server, client_context(anchors=authority.anchors))


def test_client_without_certificate_is_seen_as_such_when_optional(files, long_lived):
    authority, _ = long_lived
    _, server_files = files.issue(authority)
    server = server_context(
        *server_files, authority.anchors, client_certificate=ClientCertificate.OPTIONAL
    )
    at_server, _ = shake_hands(server, client_context(anchors=authority.anchors))
    with pytest.raises(UnknownIssuer):
        peer_certificate(at_server)
    with pytest.raises(UnknownIssuer):
        peer_certificate(None)


def test_key_02_client_certificate_of_an_unknown_authority(files, long_lived):
    authority, stranger = long_lived
    _, server_files = files.issue(authority)
    _, client_files = files.issue(stranger)
    for ask in (ClientCertificate.REQUIRED, ClientCertificate.OPTIONAL):
        server = server_context(*server_files, authority.anchors, client_certificate=ask)
        with pytest.raises(ssl.SSLError):
            shake_hands(server, client_context(*client_files, authority.anchors))


def test_key_02_server_certificate_of_an_unknown_authority(files, long_lived):
    authority, stranger = long_lived
    _, server_files = files.issue(stranger)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server_context(*server_files), client_context(anchors=authority.anchors))


def test_server_of_another_name_is_refused(files, long_lived):
    authority, _ = long_lived
    _, server_files = files.issue(authority, san=("ap.example", "127.0.0.1"))
    server, client = server_context(*server_files), client_context(anchors=authority.anchors)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(server, client)
    assert shake_hands(server, client, "ap.example")
    assert shake_hands(server, client, "127.0.0.1")


def test_pinned_server_is_accepted_under_any_name_and_no_other_is(files, long_lived):
    authority, _ = long_lived
    pinned, pinned_files = files.issue(authority, san=("ap.example",))
    _, other_files = files.issue(authority, san=("ap.example",))
    client = client_context(pinned=[pinned])
    _, at_client = shake_hands(server_context(*pinned_files), client, "elsewhere.example")
    assert check_pinned_peer(at_client, [fingerprint(pinned).upper()]) == pinned
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server_context(*other_files), client)


def test_pinned_fingerprint_of_another_certificate(files, long_lived, pki):
    authority, _ = long_lived
    _, server_files = files.issue(authority)
    _, at_client = shake_hands(
        server_context(*server_files), client_context(anchors=authority.anchors)
    )
    with pytest.raises(WrongSubject) as caught:
        check_pinned_peer(at_client, [fingerprint(pki.authority.root)])
    assert caught.value.reason == "cert.party"


def test_old_versions_and_weak_suites_are_off(files, long_lived):
    authority, _ = long_lived
    _, server_files = files.issue(authority)
    for context in (server_context(*server_files), client_context(anchors=authority.anchors)):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        names = {cipher["name"] for cipher in context.get_ciphers()}
        assert names
        assert all(name.startswith(("TLS_", "ECDHE-")) for name in names)
        assert not any("CBC" in name or ("SHA384" in name and "GCM" not in name) for name in names)


def test_tls_1_1_client_is_refused(files, long_lived):
    authority, _ = long_lived
    _, server_files = files.issue(authority)
    client = client_context(anchors=authority.anchors)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        client.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        shake_hands(server_context(*server_files), client)


def test_tls_1_2_peer_still_works(files, long_lived):
    authority, _ = long_lived
    _, server_files = files.issue(authority)
    _, client_files = files.issue(authority)
    client = client_context(*client_files, authority.anchors)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    at_server, _ = shake_hands(server_context(*server_files, authority.anchors), client)
    assert at_server.version() == "TLSv1.2"


def test_versions_and_suites_are_narrowed_and_never_widened(files, long_lived):
    authority, _ = long_lived
    _, server_files = files.issue(authority)
    client = client_context(anchors=authority.anchors)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    suite = "ECDHE-ECDSA-AES256-GCM-SHA384"
    one = server_context(*server_files, settings=TlsSettings(ciphers=(suite,)))
    assert shake_hands(one, client)[0].cipher()[0] == suite
    newest = server_context(*server_files, settings=TlsSettings(ssl.TLSVersion.TLSv1_3))
    with pytest.raises(ssl.SSLError):
        shake_hands(newest, client)
    with pytest.raises(KeyStoreError, match="AES128-SHA"):
        TlsSettings(ciphers=(suite, "AES128-SHA"))
    with pytest.raises(KeyStoreError, match="TLS before"):
        TlsSettings(ssl.TLSVersion.TLSv1_1)


def test_nothing_from_the_operating_system_is_trusted(files, long_lived):
    authority, _ = long_lived
    _, server_files = files.issue(authority)
    client = client_context(anchors=authority.anchors)
    assert len(client.get_ca_certs()) == 1
    assert server_context(*server_files).get_ca_certs() == []


def test_contradictory_arguments_are_refused(files, long_lived):
    authority, _ = long_lived
    certificate, (certificate_file, key_file) = files.issue(authority)
    with pytest.raises(KeyStoreError, match="either"):
        client_context()
    with pytest.raises(KeyStoreError, match="either"):
        client_context(anchors=authority.anchors, pinned=[certificate])
    with pytest.raises(KeyStoreError, match="both"):
        client_context(certificate_file, anchors=authority.anchors)
    with pytest.raises(KeyStoreError, match="no anchor"):
        server_context(certificate_file, key_file, client_certificate=ClientCertificate.REQUIRED)
    with pytest.raises(KeyStoreError, match="cannot be used"):
        server_context(certificate_file, certificate_file)
    with pytest.raises(KeyStoreError, match="cannot be used"):
        server_context(certificate_file.with_name("missing.pem"), key_file)
