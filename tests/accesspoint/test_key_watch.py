"""A node takes up new keys while it runs: what changes at once, what stays, and what it does not take."""

import asyncio
import contextlib
import errno
import os
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
import pytest_asyncio
import structlog
from as4_stage import Node, Partner, Pki, Stage
from bundle_parts import bundle_of
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from accesspoint import key_watch
from accesspoint.clock import SystemClock
from accesspoint.config import load
from accesspoint.demo.scenery import CLINIC, LOOPBACK_NAMES, MUNICIPALITY
from accesspoint.key_watch import load_keys
from accesspoint.store.database import Database, StorageFull, Work
from keys import rotation
from keys.certificate import der, fingerprint, load_certificate, pem
from keys.devca import DevelopmentAuthority, IssuedCertificate, system_name
from keys.errors import KeyStoreError
from keys.roles import Role
from keys.store import KeyStore, write_pair

T = TypeVar("T")


@pytest.fixture
def look_seconds() -> float:
    """The watch looks when it is told to: by itself it could be before a test that says when."""
    return 3_600.0


@pytest_asyncio.fixture
async def node(
    pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look_seconds: float
) -> AsyncIterator[Node]:
    monkeypatch.setattr(key_watch, "LOOK_SECONDS", look_seconds)
    stage = Stage(pki, tmp_path)
    # A file of its own, since other tests share those of the stage.
    file = tmp_path / "clinic.pem"
    file.write_bytes(pki.clinic.certificate_pem)
    partner = Partner(CLINIC, pki.clinic, "https://127.0.0.1:9/as4", {"certificate": str(file)})
    path = stage.write_node(MUNICIPALITY, pki.municipality, partners={"clinic": partner})
    async with stage.run(path) as node:
        yield node


def bring(node: Node, role: Role, issued: IssuedCertificate) -> Path:
    keys = node.home / "keys"
    rotation.import_answer(keys, role, bundle_of(issued))
    return keys


async def shown(
    node: Node, *trusted: x509.Certificate
) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    """The certificate that the node shows at its door, and the connection, left open; none `trusted` is any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if trusted:
        context.load_verify_locations(cadata=pem(*trusted).decode())
    else:
        context.verify_mode = ssl.CERT_NONE
    keys = node.home / "keys"
    context.load_cert_chain(keys / "tls.cert.pem", keys / "tls.key.pem")
    host, _, port = node.point.addresses["as4"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    certificate = writer.get_extra_info("ssl_object").getpeercert(True)
    return certificate, reader, writer


async def test_the_next_key_decrypts_when_it_comes_and_signs_when_it_is_told_to(
    node: Node, pki: Pki
) -> None:
    point, before = node.point, node.certificate
    identity, watch = point.identity, point.key_watch
    assert await watch.look() is False
    following = pki.certify(MUNICIPALITY.access_point)
    keys = bring(node, Role.MESSAGE, following)
    assert await watch.look() is True
    assert identity.signer.certificate == before
    assert identity.decrypter.certificates == (before, following.certificate)
    rotation.schedule(keys, Role.MESSAGE, SystemClock().now() + timedelta(hours=1))
    assert await watch.look() is False
    rotation.schedule(keys, Role.MESSAGE, SystemClock().now())
    assert await watch.look() is True
    assert point.identity is identity
    assert identity.signer.certificate == following.certificate
    assert identity.decrypter.certificates == (following.certificate, before)
    assert point.keystore.signing.certificate == following.certificate
    rows = await node.rows("SELECT actor, object FROM audit WHERE action = 'keys.changed'")
    assert [row["actor"] for row in rows] == ["system"] * len(rows)
    assert [row["object"].partition(":")[0] for row in rows] == ["decrypt", "sign", "decrypt"]


async def test_the_door_shows_the_new_certificate_and_keeps_open_connections(
    node: Node, pki: Pki
) -> None:
    following = pki.authority.issue_tls_certificate(
        "new", san=LOOPBACK_NAMES, not_before=pki.now - timedelta(hours=1)
    )
    before, reader, writer = await shown(node)
    assert load_certificate(before) == pki.tls(MUNICIPALITY.key).certificate
    keys = bring(node, Role.TLS, following)
    rotation.schedule(keys, Role.TLS, SystemClock().now())
    assert await node.point.key_watch.look() is True
    after, _, other = await shown(node)
    assert after == der(following.certificate)
    writer.write(b"GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"404" in await reader.readline()
    for one in (writer, other):
        one.close()


async def test_an_authority_that_was_forgotten_in_a_chain_is_shown_once_it_is_there(
    node: Node, pki: Pki
) -> None:
    watch, keys = node.point.key_watch, node.home / "keys"
    # Of an authority that the node does not know: what it knows, OpenSSL sends of its own accord.
    issued = pki.tls_authority.issue_tls_certificate(
        "new", san=LOOPBACK_NAMES, not_before=pki.now - timedelta(hours=1)
    )
    for path in keys.glob("tls.*"):
        path.unlink()
    write_pair(keys, "tls", replace(issued, chain=()))
    assert await watch.look() is True
    with pytest.raises(ssl.SSLCertVerificationError):
        await shown(node, pki.tls_authority.root)
    (keys / "tls.cert.pem").write_bytes(issued.certificate_pem)
    assert await watch.look() is True
    certificate, _, writer = await shown(node, pki.tls_authority.root)
    writer.close()
    assert certificate == der(issued.certificate)


async def test_a_signature_comes_with_the_chain_that_is_there_now(node: Node) -> None:
    watch, file = node.point.key_watch, node.home / "keys" / "message.cert.pem"
    whole, chain = file.read_bytes(), node.point.identity.signer.chain
    assert chain
    for written, expected in ((pem(node.certificate), ()), (whole, chain)):
        file.write_bytes(written)
        assert await watch.look() is True
        assert node.point.identity.signer.chain == expected
    rows = await node.rows("SELECT object FROM audit WHERE action = 'keys.changed' ORDER BY seq")
    mark = fingerprint(node.certificate)[:16]
    above = " ".join(fingerprint(one)[:16] for one in chain)
    assert [row["object"] for row in rows] == [f"sign: {mark}", f"sign: {mark} with {above}"]


async def test_a_partner_may_have_two_certificates_while_it_changes(node: Node, pki: Pki) -> None:
    point, trust = node.point, node.point.trust
    file = point.configuration.partners["clinic"].certificate
    assert file is not None
    following = pki.certify(CLINIC.access_point).certificate
    old = pki.clinic.certificate
    assert not trust._partners[CLINIC.access_point][1:]
    file.write_bytes(pem(following, old))
    assert await point.key_watch.look() is True
    assert point.partner_certificates[CLINIC.access_point] == (following, old)
    assert set(trust._known) == {following, old}
    found = await point.directory.find_endpoint(f"0088:{CLINIC.address.gln}", "any", "any")
    assert found.certificate == der(following)


def reasons(said: Sequence[Mapping[str, Any]]) -> str:
    """Why keys were not taken, as the log says it."""
    return " ".join(event["detail"] for event in said if event["event"] == "keys_not_taken")


async def test_a_partner_that_becomes_another_one_is_not_taken(pki: Pki, tmp_path: Path) -> None:
    stage = Stage(pki, tmp_path)
    file = tmp_path / "agreed.pem"
    file.write_bytes(pki.agreed.certificate_pem)
    clinic = Partner(CLINIC, pki.clinic, "https://127.0.0.1:9/as4")
    agreed = Partner(
        None,
        pki.agreed,
        "https://127.0.0.1:8/as4",
        {"certificate": str(file), "agreement": "urn:other"},
    )
    partners = {"clinic": clinic, "agreed": agreed}
    path = stage.write_node(MUNICIPALITY, pki.municipality, partners=partners)
    async with stage.run(path) as node:
        before = dict(node.point.partner_certificates)
        file.write_bytes(pki.clinic.certificate_pem)
        with structlog.testing.capture_logs() as said:
            assert await node.point.key_watch.look() is False
        assert node.point.partner_certificates == before
    assert "but agreed otherwise" in reasons(said)


async def test_a_partner_under_another_name_is_not_taken_and_told_once(
    node: Node, pki: Pki
) -> None:
    point = node.point
    file = point.configuration.partners["clinic"].certificate
    assert file is not None
    before, known = dict(point.partner_certificates), list(point.trust._known)
    file.write_bytes(pki.certify("ap-renamed").certificate_pem)
    with structlog.testing.capture_logs() as said:
        assert await point.key_watch.look() is False
        assert await point.key_watch.look() is False
    assert (dict(point.partner_certificates), point.trust._known) == (before, known)
    assert reasons(said).count("a partner's certificate has another common name") == 1


async def test_message_keys_wait_for_a_pair_that_openssl_takes(node: Node, pki: Pki) -> None:
    watch, decrypter = node.point.key_watch, node.point.identity.decrypter
    keys = bring(node, Role.MESSAGE, pki.certify(MUNICIPALITY.access_point))
    # A chain as it should be, of which OpenSSL finds that its authority has too short a key.
    root, _ = pki.authority.keys
    short = pki.authority.issue(
        system_name("short", "Test", "10000009", "x"),
        rsa.generate_private_key(65_537, 1024),
        not_before=pki.now,
        not_after=pki.now + timedelta(days=1),
        extensions=[(x509.BasicConstraints(ca=True, path_length=None), True)],
    )
    issued = DevelopmentAuthority(root, short).issue_tls_certificate(
        "new", san=LOOPBACK_NAMES, not_before=pki.now
    )
    kept = {path: path.read_bytes() for path in keys.glob("tls.*")}
    for path in kept:
        path.unlink()
    write_pair(keys, "tls", issued)
    with structlog.testing.capture_logs() as said:
        assert await watch.look() is False
    assert "cannot be used for TLS" in reasons(said)
    assert node.point.identity.decrypter is decrypter
    for path, data in kept.items():
        path.write_bytes(data)
    assert await watch.look() is True
    rows = await node.rows("SELECT object FROM audit WHERE action = 'keys.changed'")
    assert [row["object"].partition(":")[0] for row in rows] == ["decrypt"]


async def test_what_cannot_be_used_changes_nothing_and_is_told(node: Node, pki: Pki) -> None:
    point, before = node.point, node.certificate
    keys = node.home / "keys"
    other_kind = pki.authority.issue_tls_certificate(
        "rsa", san=LOOPBACK_NAMES, not_before=pki.now, private_key=pki.spare_key
    )
    with structlog.testing.capture_logs() as said:
        for role, issued in (
            ("tls", other_kind),
            ("message", pki.certify("another-name")),
            ("message", pki.certify("no party id")),
        ):
            kept = {path: path.read_bytes() for path in keys.glob(f"{role}.*")}
            for path in kept:
                path.unlink()
            write_pair(keys, role, issued)
            assert await point.key_watch.look() is False
            assert await point.key_watch.look() is False
            for path, data in kept.items():
                path.write_bytes(data)
        (keys / "message.key.pem").chmod(0o640)
        point.key_watch.look_now()
        assert await point.key_watch.look(asked=True) is False
    assert point.identity.signer.certificate == before
    assert await node.rows("SELECT 1 FROM audit WHERE action = 'keys.changed'") == []
    for why in (
        "another kind than before",
        "another common name",
        "is no party id",
        "open to others",
    ):
        assert why in reasons(said)


@pytest.mark.parametrize(
    ("name", "opened", "closed"), [("message.next.cert.pem", 0o644, 0o600), (".", 0o755, 0o700)]
)
async def test_what_is_closed_as_it_was_told_is_taken(
    node: Node, pki: Pki, name: str, opened: int, closed: int
) -> None:
    watch = node.point.key_watch
    keys = bring(node, Role.MESSAGE, pki.certify(MUNICIPALITY.access_point))
    (keys / name).chmod(opened)
    with structlog.testing.capture_logs() as said:
        assert await watch.look() is False
    assert f"chmod {closed:o} {keys / name}" in reasons(said)
    (keys / name).chmod(closed)
    assert await watch.look() is True


class Later(SystemClock):
    """The clock of this machine, with as many seconds more as a test lets pass."""

    passed = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.passed


@contextlib.contextmanager
def unreadable(broken: Path) -> Iterator[None]:
    """Let the disk fail at each reading of this file; what can be seen of it stays the same."""
    really = os.open

    def fail(path: Any, *arguments: Any, **more: Any) -> int:
        if path == broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return really(path, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", fail)
        yield


async def test_a_fault_that_passes_is_told_once_and_keeps_no_key_away(node: Node, pki: Pki) -> None:
    watch, signer = node.point.key_watch, node.point.identity.signer
    watch._clock = clock = Later()
    following = pki.certify(MUNICIPALITY.access_point)
    keys = bring(node, Role.MESSAGE, following)
    rotation.schedule(keys, Role.MESSAGE, clock.now())
    with structlog.testing.capture_logs() as said, unreadable(keys / "message.key.pem"):
        for _ in range(3):
            assert await watch.look() is False
            clock.passed += key_watch.AGAIN_SECONDS
    assert not (keys / "message.next.at").exists(), "the switch itself is done"
    assert node.point.identity.signer is signer
    assert reasons(said).count(os.strerror(errno.EIO)) == 1
    assert await watch.look() is True
    assert node.point.identity.signer.certificate == following.certificate


async def test_what_failed_is_not_read_at_every_look(node: Node, pki: Pki) -> None:
    watch = node.point.key_watch
    watch._clock = clock = Later()
    keys = bring(node, Role.MESSAGE, pki.certify(MUNICIPALITY.access_point))
    with unreadable(keys / "message.next.key.pem"):
        assert await watch.look() is False
    assert await watch.look() is False
    clock.passed += key_watch.AGAIN_SECONDS
    assert await watch.look() is True


async def test_a_time_of_rotation_that_cannot_be_read_is_told_once(node: Node, pki: Pki) -> None:
    watch = node.point.key_watch
    watch._clock = clock = Later()
    keys = bring(node, Role.MESSAGE, pki.certify(MUNICIPALITY.access_point))
    rotation.schedule(keys, Role.MESSAGE, clock.now() + timedelta(hours=1))
    assert await watch.look() is True
    with structlog.testing.capture_logs() as said, unreadable(keys / "message.next.at"):
        for _ in range(3):
            assert await watch.look() is False
            clock.passed += key_watch.AGAIN_SECONDS
        assert reasons(said).count(os.strerror(errno.EIO)) == 1
        assert await watch.look(asked=True) is False
        assert reasons(said).count(os.strerror(errno.EIO)) == 2


class Full:
    """The node's database while its disk is full."""

    async def run(self, work: Work[T]) -> T:
        raise StorageFull("no room")


async def test_what_changed_is_said_once_the_store_takes_it(node: Node, pki: Pki) -> None:
    watch, database = node.point.key_watch, node.point.database
    watch._database = cast("Database", Full())
    bring(node, Role.MESSAGE, pki.certify(MUNICIPALITY.access_point))
    assert await watch.look(asked=True) is True
    assert len(node.point.identity.decrypter.certificates) == 2
    watch._database = database
    assert await watch.look() is False
    assert await watch.look() is False
    rows = await node.rows("SELECT object FROM audit WHERE action = 'keys.changed'")
    assert [row["object"].partition(":")[0] for row in rows] == ["decrypt"]


@pytest.mark.parametrize(("look_seconds", "asks"), [(0.01, False), (3_600.0, True)])
async def test_the_watch_looks_by_itself_and_at_once_when_asked(
    node: Node, pki: Pki, asks: bool
) -> None:
    following = pki.certify(MUNICIPALITY.access_point)
    bring(node, Role.MESSAGE, following)
    if asks:
        node.point.key_watch.look_now()

    async def taken() -> bool:
        return following.certificate in node.point.identity.decrypter.certificates

    await node.until(taken, "the watch takes up the next key", seconds=5)


def test_a_rotation_that_is_due_is_done_before_a_node_starts(pki: Pki, tmp_path: Path) -> None:
    stage = Stage(pki, tmp_path)
    configuration = load(stage.write_node(MUNICIPALITY, pki.municipality, partners={}), {})
    keys = configuration.keys.directory
    following = pki.certify(MUNICIPALITY.access_point)
    rotation.import_answer(keys, Role.MESSAGE, bundle_of(following))
    rotation.schedule(keys, Role.MESSAGE, SystemClock().now())
    loaded = load_keys(configuration, SystemClock())
    assert loaded.identity.signer.certificate == following.certificate
    assert KeyStore.load(keys).signing.certificate == following.certificate
    (keys / "message.key.pem").chmod(0o604)
    with pytest.raises(KeyStoreError, match="open to others"):
        load_keys(configuration, SystemClock())
