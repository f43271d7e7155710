"""Requested, imported, next, active, previous, gone: each step, its refusals, and a switch that was cut short anywhere."""

import datetime as dt
import fcntl
import os
import threading

import pytest
from bundle_parts import bundle_of
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from keys import rotation
from keys.devca import system_name
from keys.errors import BundleRefused, KeyStoreError, UntrustedCertificate, WrongUsage
from keys.request import key_usage
from keys.roles import Age, Role
from keys.store import KeyStore, locked, write_keystore, write_private

from .conftest import AT, UUID


@pytest.fixture
def first(pki):
    return pki.leaf()


@pytest.fixture
def directory(tmp_path, pki, first):
    tls = pki.authority.issue_tls_certificate(
        "localhost", san=["localhost", "127.0.0.1"], not_before=pki.at, private_key=pki.curve_key
    )
    return write_keystore(tmp_path / "keys", message=first, tls=tls)


def names(directory):
    return sorted(path.name for path in directory.iterdir() if path.name.startswith("message"))


def follow(directory, pki, **shape):
    """Import a next message pair with another key."""
    issued = pki.leaf(key=pki.other_key, **shape)
    return rotation.import_answer(directory, Role.MESSAGE, bundle_of(issued)), issued


def of_kind(pki, key, name="ehmi-ap-test", **usage):
    """A pair with any key, certified for what is asked."""
    _, *others = pki.authority.system_extensions(key)
    return pki.authority.issue(
        system_name(name, "Testorganisation", "95474483", UUID),
        key,
        not_before=AT - dt.timedelta(days=10),
        not_after=AT + dt.timedelta(days=100),
        extensions=[(key_usage(**usage), True), *others],
    )


def test_a_request_has_a_new_private_key_and_the_subject_we_have(directory, pki):
    made = rotation.request(directory, Role.MESSAGE)
    wanted = x509.load_pem_x509_csr(made.read_bytes())
    assert wanted.is_signature_valid
    assert wanted.subject == pki.leaf().certificate.subject
    usage = wanted.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.key_encipherment
    key = load_pem_private_key((directory / "message.request.key.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 3072
    assert key.public_key() == wanted.public_key()
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    with pytest.raises(KeyStoreError, match="waits for its certificate already"):
        rotation.request(directory, Role.MESSAGE)
    waiting = [pair for pair in rotation.held(directory, AT) if pair.age is Age.REQUESTED]
    assert [(pair.role, pair.certificates) for pair in waiting] == [(Role.MESSAGE, ())]


def test_a_request_for_tls_asks_for_the_names_we_have_or_for_those_given(directory, tmp_path):
    wanted = x509.load_pem_x509_csr(rotation.request(directory, Role.TLS).read_bytes())
    found = wanted.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["localhost"]
    fresh = tmp_path / "fresh"
    with pytest.raises(KeyStoreError, match="a subject has to be given"):
        rotation.request(fresh, Role.TLS)
    subject = system_name("ap", "Eksempel", "12345678", UUID)
    made = rotation.request(fresh, Role.SIGNING_P256, subject=subject, names=["ap.example.dk"])
    wanted = x509.load_pem_x509_csr(made.read_bytes())
    assert wanted.subject == subject
    found = wanted.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["ap.example.dk"]
    assert rotation.request(fresh, Role.SIGNING_ED25519, subject=subject).exists()
    with pytest.raises(KeyStoreError, match="import key and certificate together"):
        rotation.request(fresh, Role.DECRYPTION_X25519, subject=subject)


def test_the_answer_to_a_request_becomes_the_next_pair_and_decrypts_at_once(directory, pki, first):
    rotation.request(directory, Role.MESSAGE)
    key = load_pem_private_key((directory / "message.request.key.pem").read_bytes(), None)
    answer = pki.leaf(key=key)
    taken = rotation.import_answer(directory, Role.MESSAGE, bundle_of(answer, key=False))
    assert (taken.age, taken.certificates) == (Age.NEXT, (answer.certificate, *answer.chain))
    assert "message.request.key.pem" not in names(directory)
    store = KeyStore.load(directory)
    assert store.signing.certificate == first.certificate
    assert store.decryption.certificates == (first.certificate, answer.certificate)


def test_a_waiting_key_that_is_damaged_is_told(directory, pki):
    rotation.request(directory, Role.MESSAGE)
    (directory / "message.request.key.pem").write_bytes(b"no key")
    with pytest.raises(KeyStoreError, match="no readable, unencrypted private key"):
        rotation.import_answer(directory, Role.MESSAGE, bundle_of(pki.leaf(), key=False))


def test_the_first_pair_of_a_role_is_active(directory, pki):
    other = pki.authority.issue_tls_certificate(
        "client", san=[], not_before=pki.at, private_key=pki.other_key
    )
    taken = rotation.import_answer(directory, Role.TLS_CLIENT, bundle_of(other))
    assert taken.age is Age.ACTIVE
    store = KeyStore.load(directory)
    assert store.tls_client.certificate == other.certificate
    assert store.tls.certificate != other.certificate


def test_what_does_not_fit_is_not_imported(directory, pki):
    before = names(directory)
    cases = [
        (bundle_of(pki.leaf(), key=False), "import.waiting"),
        (bundle_of(pki.leaf(key=pki.other_key, name="somebody-else")), "import.name"),
        (bundle_of(pki.leaf(key=pki.other_key, cvr="20000008")), "import.name"),
        (
            bundle_of(pki.bent_leaf(lambda found: found[1:], key=pki.other_key)),
            "cert.usage",
        ),
    ]
    for given, reason in cases:
        with pytest.raises((BundleRefused, UntrustedCertificate)) as caught:
            rotation.import_answer(directory, Role.MESSAGE, given)
        assert caught.value.reason == reason
    rotation.request(directory, Role.MESSAGE)
    with pytest.raises(BundleRefused) as caught:
        rotation.import_answer(directory, Role.MESSAGE, bundle_of(pki.leaf(), key=False))
    assert caught.value.reason == "import.key"
    (directory / "message.request.key.pem").unlink()
    (directory / "message.request.csr.pem").unlink()
    assert names(directory) == before
    follow(directory, pki)
    with pytest.raises(BundleRefused) as caught:
        follow(directory, pki, begins=-9)
    assert caught.value.reason == "import.next"


@pytest.mark.parametrize(
    ("role", "kind", "name", "usage", "reason"),
    [
        (Role.SIGNING_ED25519, "p256", "ehmi-ap-test", "digital_signature", "import.kind"),
        (Role.SIGNING_P256, "p384", "ehmi-ap-test", "digital_signature", "import.kind"),
        (Role.DECRYPTION_X25519, "p256", "ehmi-ap-test", "key_agreement", "import.kind"),
        (Role.DECRYPTION_P256, "p384", "ehmi-ap-test", "key_agreement", "import.kind"),
        (Role.MESSAGE, "p256", "ehmi-ap-test", "digital_signature key_agreement", "import.kind"),
        (Role.SIGNING_P256, "p256", "somebody-else", "digital_signature", "import.name"),
        (Role.DECRYPTION_P256, "p256", "somebody-else", "key_agreement", "import.name"),
    ],
)
def test_a_pair_with_which_no_node_would_start_is_not_imported(
    directory, pki, role, kind, name, usage, reason
):
    before = sorted(directory.iterdir())
    key = pki.curve_key if kind == "p256" else ec.generate_private_key(ec.SECP384R1())
    given = of_kind(pki, key, name, **dict.fromkeys(usage.split(), True))
    with pytest.raises(BundleRefused) as caught:
        rotation.import_answer(directory, role, bundle_of(given))
    assert caught.value.reason == reason
    assert sorted(directory.iterdir()) == before


def test_the_pairs_of_one_party_have_one_name_whichever_comes_first(tmp_path, pki):
    where = tmp_path / "fresh"
    signing = of_kind(pki, ed25519.Ed25519PrivateKey.generate(), digital_signature=True)
    taken = rotation.import_answer(where, Role.SIGNING_ED25519, bundle_of(signing))
    assert taken.age is Age.ACTIVE
    with pytest.raises(BundleRefused) as caught:
        rotation.import_answer(where, Role.MESSAGE, bundle_of(pki.leaf(name="somebody-else")))
    assert caught.value.reason == "import.name"
    assert rotation.import_answer(where, Role.MESSAGE, bundle_of(pki.leaf())).age is Age.ACTIVE


def test_an_answer_for_another_organisation_of_our_name_is_told_with_both(directory, pki):
    other = bundle_of(pki.leaf(key=pki.other_key, cvr="20000008"))
    with pytest.raises(BundleRefused) as caught:
        rotation.import_answer(directory, Role.MESSAGE, other)
    assert (
        "organisation in the active certificate is NTRDK-95474483, and partners know us by it;"
        " this one is of NTRDK-20000008"
    ) in caught.value.detail
    decrypts = rotation.import_answer(directory, Role.DECRYPTION, bundle_of(pki.leaf()))
    assert decrypts.age is Age.ACTIVE
    with pytest.raises(BundleRefused) as caught:
        rotation.import_answer(directory, Role.DECRYPTION, other)
    assert caught.value.reason == "import.name"


def test_who_became_another_organisation_begins_a_directory_and_still_opens_what_is_on_its_way(
    directory, pki, first, tmp_path
):
    fresh = tmp_path / "fresh"
    other = pki.leaf(key=pki.other_key, cvr="20000008")
    assert rotation.import_answer(fresh, Role.MESSAGE, bundle_of(other)).age is Age.ACTIVE
    for name in ("tls.key.pem", "tls.cert.pem", "message.key.pem", "message.cert.pem"):
        there = name.replace("message.", "message.previous.")
        write_private(fresh / there, (directory / name).read_bytes())
    store = KeyStore.load(fresh)
    assert store.signing.certificate == other.certificate
    assert store.decryption.certificates == (other.certificate, first.certificate)


def test_message_keys_of_another_kind_need_a_pair_that_decrypts_and_a_kind_of_their_own(
    directory, pki
):
    curve = of_kind(pki, pki.curve_key, digital_signature=True, key_agreement=True)
    decrypts = of_kind(pki, pki.other_key, key_encipherment=True)
    rotation.import_answer(directory, Role.DECRYPTION, bundle_of(decrypts))
    rotation.import_answer(directory, Role.MESSAGE, bundle_of(curve))
    rotation.schedule(directory, Role.MESSAGE, AT)
    rotation.promote_due(directory, AT)
    rotation.finish(directory, Role.MESSAGE)
    assert KeyStore.load(directory).signing.certificate == curve.certificate
    signing = of_kind(pki, pki.curve_key, digital_signature=True)
    with pytest.raises(BundleRefused, match="message pair signs with a key of this kind") as caught:
        rotation.import_answer(directory, Role.SIGNING_P256, bundle_of(signing))
    assert caught.value.reason == "import.kind"


def test_a_tls_certificate_is_not_taken_for_the_server_without_its_purpose(directory, pki):
    with pytest.raises(WrongUsage, match="tls certificates are for tls-client"):
        rotation.import_answer(
            directory,
            Role.TLS,
            bundle_of(
                pki.bent_leaf(lambda found: [*found, (_SERVER_ONLY, False)], key=pki.other_key)
            ),
        )


_SERVER_ONLY = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH])


def test_a_switch_now_signs_with_the_next_pair_and_still_opens_with_the_one_before(
    directory, pki, first
):
    _, issued = follow(directory, pki)
    rotation.schedule(directory, Role.MESSAGE, AT)
    with locked(directory):
        assert rotation.promote_due(directory, AT) == [Role.MESSAGE]
        assert rotation.promote_due(directory, AT) == []
    store = KeyStore.load(directory)
    assert store.signing.certificate == issued.certificate
    assert store.decryption.certificates == (issued.certificate, first.certificate)
    ages = [(pair.role, pair.age) for pair in rotation.held(directory, AT)]
    assert ages[:2] == [(Role.MESSAGE, Age.ACTIVE), (Role.MESSAGE, Age.PREVIOUS)]
    gone = rotation.finish(directory, Role.MESSAGE)
    assert gone.certificates[0] == first.certificate
    assert KeyStore.load(directory).decryption.certificates == (issued.certificate,)
    with pytest.raises(BundleRefused, match="no previous"):
        rotation.finish(directory, Role.MESSAGE)


def test_who_reads_waits_for_a_switch_under_way(directory, pki):
    _, issued = follow(directory, pki)
    rotation.schedule(directory, Role.MESSAGE, AT)
    found = []
    reader = threading.Thread(target=lambda: found.append(KeyStore.load(directory)))
    with locked(directory):
        (directory / "message.key.pem").rename(directory / "message.previous.key.pem")
        reader.start()
        reader.join(0.2)
        assert reader.is_alive()
        assert rotation.promote_due(directory, AT) == [Role.MESSAGE]
    reader.join()
    assert found[0].signing.certificate == issued.certificate


def test_who_lists_keeps_switches_away_while_it_reads(directory, monkeypatch):
    read, real = [], rotation.load_pair

    def look(where, stem):
        descriptor = os.open(where, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
        read.append(stem)
        return real(where, stem)

    monkeypatch.setattr(rotation, "load_pair", look)
    rotation.held(directory, AT)
    assert read == ["message", "tls"]


def test_a_switch_waits_for_its_time(directory, pki):
    follow(directory, pki)
    later = AT + dt.timedelta(hours=2)
    assert rotation.schedule(directory, Role.MESSAGE, later).since == later
    assert rotation.promote_due(directory, AT) == []
    (pair,) = [pair for pair in rotation.held(directory, AT) if pair.age is Age.NEXT]
    assert pair.since == later
    assert rotation.promote_due(directory, later) == [Role.MESSAGE]


def test_there_must_be_something_to_switch_to_and_the_last_switch_must_be_over(directory, pki):
    with pytest.raises(BundleRefused, match="no next message pair"):
        rotation.schedule(directory, Role.MESSAGE, AT)
    follow(directory, pki, begins=5)
    with pytest.raises(BundleRefused, match="not valid at") as caught:
        rotation.schedule(directory, Role.MESSAGE, AT)
    assert caught.value.reason == "rotate.time"
    rotation.schedule(directory, Role.MESSAGE, AT + dt.timedelta(days=6))
    rotation.promote_due(directory, AT + dt.timedelta(days=6))
    rotation.import_answer(
        directory, Role.MESSAGE, bundle_of(pki.leaf(key=pki.leaf_key, begins=-1))
    )
    with pytest.raises(BundleRefused, match="finish that rotation first"):
        rotation.schedule(directory, Role.MESSAGE, AT)


@pytest.mark.parametrize("cut", range(7))
def test_a_switch_that_was_cut_short_is_finished_by_the_next_one_who_looks(
    directory, pki, first, cut, monkeypatch
):
    _, issued = follow(directory, pki)
    rotation.schedule(directory, Role.MESSAGE, AT)
    steps = 0

    def step(real):
        def limited(self, *arguments, **named):
            nonlocal steps
            if steps == cut:
                raise KeyboardInterrupt
            steps += 1
            return real(self, *arguments, **named)

        return limited

    path = type(directory)
    with monkeypatch.context() as patched:
        patched.setattr(path, "rename", step(path.rename))
        patched.setattr(path, "unlink", step(path.unlink))
        if cut < 5:
            with pytest.raises(KeyboardInterrupt):
                rotation.promote_due(directory, AT)
        else:
            rotation.promote_due(directory, AT)
    rotation.promote_due(directory, AT)
    store = KeyStore.load(directory)
    assert store.signing.certificate == issued.certificate
    assert store.decryption.certificates == (issued.certificate, first.certificate)
    assert names(directory) == [
        "message.cert.pem", "message.key.pem",
        "message.previous.cert.pem", "message.previous.key.pem", "message.previous.since",
    ]  # fmt: skip
    assert rotation.switched(directory, Role.MESSAGE) == AT


def test_who_lists_finishes_a_switch_that_was_cut_short(directory, pki, first):
    _, issued = follow(directory, pki)
    rotation.schedule(directory, Role.MESSAGE, AT)
    (directory / "message.key.pem").rename(directory / "message.previous.key.pem")
    found = rotation.held(directory, AT)
    assert [(pair.age, pair.certificates[0]) for pair in found[:2]] == [
        (Age.ACTIVE, issued.certificate),
        (Age.PREVIOUS, first.certificate),
    ]


def test_what_is_held_is_listed_while_the_module_of_a_key_is_away(directory, first):
    (directory / "message.key.pem").unlink()
    uri = b"pkcs11:token=ap;object=message?module-path=/absent.so&pin-source=file:/absent"
    write_private(directory / "message.key.uri", uri)
    with pytest.raises(KeyStoreError, match=r"message\.key\.uri"):
        KeyStore.load(directory)
    found = rotation.held(directory, AT)
    assert [(pair.role, pair.age) for pair in found] == [
        (Role.MESSAGE, Age.ACTIVE),
        (Role.TLS, Age.ACTIVE),
    ]
    assert found[0].certificates == (first.certificate, *first.chain)


def test_nothing_is_held_where_no_directory_is(tmp_path):
    assert rotation.held(tmp_path / "absent", AT) == []


@pytest.mark.parametrize(
    ("blocked", "verb"),
    [
        ("message.request.csr.pem", lambda where, _: rotation.request(where, Role.MESSAGE)),
        ("message.next.cert.pem", lambda where, pki: follow(where, pki)),
        ("message.next.at", lambda where, _: rotation.schedule(where, Role.MESSAGE, AT)),
        ("message.previous.since", lambda where, _: rotation.finish(where, Role.MESSAGE)),
    ],
)
def test_what_the_directory_does_not_let_be_done_is_told_as_its_fault(
    directory, pki, blocked, verb
):
    if not blocked.endswith(".pem"):
        follow(directory, pki)
    if blocked.endswith(".since"):
        rotation.schedule(directory, Role.MESSAGE, AT)
        rotation.promote_due(directory, AT)
        (directory / blocked).unlink()
    (directory / blocked).mkdir()
    with pytest.raises(KeyStoreError, match=f"{blocked} cannot be changed: "):
        verb(directory, pki)


def test_a_directory_that_is_open_to_others_is_not_touched(directory):
    directory.chmod(0o750)
    with pytest.raises(KeyStoreError, match="open to others"), locked(directory):
        pass


def test_a_moment_that_is_none_is_told(directory, pki):
    follow(directory, pki)
    marker = directory / "message.next.at"
    marker.write_text("soon")
    marker.chmod(0o600)
    with pytest.raises(KeyStoreError, match="holds no time"):
        rotation.promote_due(directory, AT)
    marker.write_text("2026-11-21T12:00:00")
    assert rotation.scheduled(directory, Role.MESSAGE) == AT
