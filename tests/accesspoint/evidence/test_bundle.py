"""The evidence bundle of a real exchange, verified by the script inside it in a bare process; and every way to spoil it."""

import asyncio
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from as4_stage import Node, Pki, Stage
from as4_wire import CANARY
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from exchange import exchange
from lxml import etree
from sample_messages import TEST_PERSON

from accesspoint.api.client import ApiProblem, NodeAddress, NodeClient
from accesspoint.clock import SystemClock
from accesspoint.demo.scenery import CLINIC
from accesspoint.evidence import verify
from accesspoint.evidence.bundle import Item, pack
from accesspoint.evidence.verify import Broken, check_path
from accesspoint.store.audit import person_digest
from envelope import names
from envelope.fhir.synthetic import TEST_CPR
from keys.certificate import pem
from keys.devca import DevelopmentAuthority, system_name

Files = dict[str, bytes]
_KEYS = tuple(rsa.generate_private_key(65537, 2048) for _ in range(2))


@dataclass
class Proof:
    """The bundles of one message: as its sender exports it, and as its receiver does."""

    sent: bytes
    received: bytes
    with_payload: bytes
    again: bytes
    other: bytes
    exports: dict[str, list[bool]]
    audited: list[tuple[str, str, str | None]]


def unpack(bundle: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(files: Files, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, octets in files.items():
            archive.writestr(name, octets)
    return path


def verified(bundle: Path, script: Path, *options: str) -> tuple[int, str]:
    """What the script says in a process that knows nothing of the project."""
    ended = subprocess.run(
        [sys.executable, "-I", str(script), str(bundle), *options],
        capture_output=True, text=True, timeout=30, check=False, cwd=bundle.parent,
        env={"PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout


def judged(files: Files, path: Path) -> tuple[int, str]:
    """What the script's own `main` says of these files, in this process: for the many ways to spoil a bundle."""
    with redirect_stdout(io.StringIO()) as said:
        status = verify.main(write(files, path))
    return status, said.getvalue()


async def exported(node: Node) -> list[bool]:
    """What the journal says of the exports: with the payload or without."""
    rows = await node.rows(
        "SELECT detail FROM journal WHERE event = 'evidence-exported' ORDER BY seq"
    )
    return [json.loads(row["detail"])["with_payload"] for row in rows]


async def export(node: Node, direction: str, *, with_payload: bool = False, nth: int = 0) -> bytes:
    row = (
        await node.rows(
            "SELECT id FROM messages WHERE direction = $1 ORDER BY created_at", direction
        )
    )[nth]
    async with NodeClient(NodeAddress.load(node.point.configuration.store.directory)) as client:
        why = "a complaint" if with_payload else None
        return await client.evidence(row["id"], payload_for=why)


@pytest.fixture(scope="module")
def proof(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Proof:
    return asyncio.run(prove(Stage(pki, tmp_path_factory.mktemp("evidence"))))


async def prove(stage: Stage) -> Proof:
    """Exchange one message and its acknowledgements, and export it at both ends."""
    async with stage.pair(acknowledging={"fhir": "automatic"}) as (sender, receiver):
        await exchange(sender, receiver)
        for node in (sender, receiver):
            crls = node.point.trust._validator.crls
            for made in (stage.pki.authority.crl, stage.pki.authority.root_crl):
                crls.add(made(stage.pki.now), at=SystemClock().now())
        async with NodeClient(
            NodeAddress.load(sender.point.configuration.store.directory)
        ) as client:
            with pytest.raises(ApiProblem, match="No exchange with this id"):
                await client.evidence("../nobody")
        bundles = {
            "sent": await export(sender, "out"),
            "received": await export(receiver, "in"),
            "with_payload": await export(receiver, "in", with_payload=True),
            "again": await export(sender, "out"),
        }
        exports = {"out": await exported(sender), "in": await exported(receiver)}
        lines = await receiver.rows("SELECT action, person, reason FROM audit ORDER BY seq")
        person = person_digest(receiver.point.payloads.person_keys[0], TEST_PERSON)
        assert [tuple(line.values()) for line in lines] == [
            ("evidence.exported", None, None),
            ("payload.viewed", person, "a complaint"),
        ]
        # Its acknowledgement of the acknowledgement that is a message of its own.
        other = await export(sender, "out", nth=1)
        audited = [
            (row["actor"], row["action"], row["reason"])
            for row in await receiver.rows("SELECT * FROM audit ORDER BY seq")
        ]
        return Proof(**bundles, other=other, exports=exports, audited=audited)


@pytest.fixture
def script(proof: Proof, tmp_path: Path) -> Path:
    path = tmp_path / "checker" / "verify.py"
    path.parent.mkdir()
    path.write_bytes(unpack(proof.sent)["verify.py"])
    return path


def test_both_sides_prove_the_message(proof: Proof, script: Path, tmp_path: Path) -> None:
    for name, bundle in (("sent", proof.sent), ("received", proof.received)):
        path = tmp_path / f"{name}.zip"
        path.write_bytes(bundle)
        status, said = verified(path, script)
        assert status == 0, said
        assert "the receipt's signature verifies, and it repeats the message's references" in said
        assert "anchor" in said
        assert "everything held" in said


def test_an_unpacked_bundle_verifies_in_its_place(proof: Proof, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(proof.sent)) as archive:
        archive.extractall(tmp_path / "proof")
    status, said = verified(tmp_path / "proof", tmp_path / "proof" / "verify.py")
    assert status == 0, said


def test_the_bundle_says_what_it_is_in_words(proof: Proof) -> None:
    files = unpack(proof.sent)
    told = files["explanation.txt"].decode()
    assert "✓ signature value  verifies with the signer's key" in told
    assert told.count("as the message signed it") == 3
    states = [step["to_state"] for step in json.loads(files["history.json"])]
    assert "ACKNOWLEDGED" in states
    assert "receipt" in {entry["event"] for entry in json.loads(files["journal.json"])}
    assert any(name.startswith("revocation/") for name in files)


def test_the_same_message_gives_the_same_octets(proof: Proof) -> None:
    assert proof.sent == proof.again
    with zipfile.ZipFile(io.BytesIO(proof.sent)) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_no_patient_is_in_it_unless_asked(proof: Proof) -> None:
    number = TEST_CPR.encode()
    for bundle in (proof.sent, proof.received):
        files = unpack(bundle)
        assert "payload.xml" not in files
        assert not [name for name, octets in files.items() if number in octets]
        assert not [name for name, octets in files.items() if CANARY.encode() in octets]
    assert "payload.xml" in unpack(proof.with_payload)


def test_the_payload_is_held_against_its_digest(proof: Proof, script: Path, tmp_path: Path) -> None:
    path = tmp_path / "whole.zip"
    path.write_bytes(proof.with_payload)
    assert verified(path, script)[0] == 0


def test_each_file_that_is_changed_missing_or_added_is_named(proof: Proof, tmp_path: Path) -> None:
    files = unpack(proof.with_payload)
    for name in files.keys() - {"manifest.json", "manifest.signature.json"}:
        changed = files | {name: files[name][:-1] + bytes([files[name][-1] ^ 1])}
        status, said = judged(changed, tmp_path / "changed.zip")
        assert status == 1, name
        assert f"✗ {name}" in said
    for name in files.keys() - {"manifest.signature.json"}:
        missing = {each: octets for each, octets in files.items() if each != name}
        status, said = judged(missing, tmp_path / "missing.zip")
        assert (status, f"✗ {name} is missing" in said) == (1, True), said
    status, said = judged(files | {"more.txt": b"x"}, tmp_path / "more.zip")
    assert (status, "✗ more.txt" in said) == (1, True)


def test_a_manifest_that_is_changed_is_named(proof: Proof, script: Path, tmp_path: Path) -> None:
    files = unpack(proof.sent)
    files["manifest.json"] = files["manifest.json"].replace(b'"party"', b'"Party"')
    status, said = verified(write(files, tmp_path / "manifest.zip"), script)
    assert (status, "✗ manifest.json: the signature does not verify" in said) == (1, True)


def test_a_name_that_leads_out_of_the_bundle_is_refused(proof: Proof, tmp_path: Path) -> None:
    for name in ("../out.txt", "/out.txt", "a/../../out.txt", "a\\..\\out.txt"):
        status, said = judged(unpack(proof.sent) | {name: b""}, tmp_path / "out.zip")
        assert status == 1
        assert "leads out of the bundle" in said
    assert not (tmp_path / "out.txt").exists()


def _edit(octets: bytes, change: Callable[[etree._Element], None]) -> bytes:
    root = etree.fromstring(octets)
    change(root)
    return etree.tostring(root)


def _other_digest(root: etree._Element) -> None:
    receipt = next(root.iter(names.q(names.EB, "Receipt")))
    next(receipt.iter(names.q(names.DS, "DigestValue"))).text = "A" * 43 + "="


def _other_time(root: etree._Element) -> None:
    next(root.iter(names.q(names.EB, "Timestamp"))).text = "2020-01-01T00:00:00Z"


def _no_signature(root: etree._Element) -> None:
    signature = next(root.iter(names.q(names.DS, "Signature")))
    parent = signature.getparent()
    assert parent is not None
    parent.remove(signature)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("receipt.xml", _other_digest),
        ("receipt.xml", _other_time),
        ("receipt.xml", _no_signature),
        ("message.xml", _other_time),
        ("message.xml", _no_signature),
    ],
)
def test_an_exporter_cannot_make_evidence_up(
    proof: Proof, pki: Pki, script: Path, tmp_path: Path, name: str, change: Callable[..., None]
) -> None:
    """With the manifest made and signed anew the digests fit; the signatures of the two sides do not."""
    files = unpack(proof.sent)
    files[name] = _edit(files[name], change)
    status, said = verified(_made_anew(files, pki, tmp_path), script)
    assert status == 1
    assert f"✗ {name}" in said


def test_a_receipt_of_another_message_is_refused(
    proof: Proof, pki: Pki, script: Path, tmp_path: Path
) -> None:
    """A sound receipt beside a sound message that it does not answer."""
    files = unpack(proof.sent)
    manifest = json.loads(files["manifest.json"])
    manifest["message"]["message_id"] = "another@message.example"
    files["manifest.json"] = json.dumps(manifest).encode()
    status, said = verified(_made_anew(files, pki, tmp_path), script)
    assert (status, "message.xml: has another MessageId" in said) == (1, True), said


def test_a_certificate_of_another_is_refused(
    proof: Proof, pki: Pki, script: Path, tmp_path: Path
) -> None:
    files = unpack(proof.sent)
    signer = "certificates/receipt-signer.pem"
    files[signer] = files["certificates/message-signer.pem"]
    status, said = verified(_made_anew(files, pki, tmp_path), script)
    assert (status, "✗ receipt.xml: another signed it" in said) == (1, True), said


def _with_decoy(octets: bytes, source: bytes, tag: str) -> bytes:
    """The envelope with an element of `source` put first in its header, where nothing signs it."""

    def wrap(root: etree._Element) -> None:
        root[0].insert(0, next(etree.fromstring(source).iter(tag)))

    return _edit(octets, wrap)


def test_a_receipt_is_read_only_where_it_is_signed(
    proof: Proof, pki: Pki, script: Path, tmp_path: Path
) -> None:
    """A genuine receipt of one message, with an unsigned signal for another put before the one that is signed."""
    files, other = unpack(proof.sent), unpack(proof.other)
    signal = names.q(names.EB, "SignalMessage")
    wrapped = _with_decoy(other["receipt.xml"], files["receipt.xml"], signal)
    status, said = verified(_made_anew(files | {"receipt.xml": wrapped}, pki, tmp_path), script)
    assert (status, "✗ receipt.xml: is the receipt of another message" in said) == (1, True), said


def test_a_message_is_read_only_where_it_is_signed(
    proof: Proof, pki: Pki, script: Path, tmp_path: Path
) -> None:
    """Another message with a decoy of this one's user message, and with one of its SignedInfo."""
    files, other = unpack(proof.sent), unpack(proof.other)
    wrapped = other["message.xml"]
    for tag in (names.q(names.EB, "UserMessage"), names.q(names.DS, "SignedInfo")):
        wrapped = _with_decoy(wrapped, files["message.xml"], tag)
    status, said = verified(_made_anew(files | {"message.xml": wrapped}, pki, tmp_path), script)
    assert (status, "✗ message.xml: has another MessageId" in said) == (1, True), said
    # With the right MessageId it is the decoy's references that must not count.
    info = names.q(names.DS, "SignedInfo")
    decoy = _with_decoy(files["message.xml"], other["message.xml"], info)
    status, said = verified(_made_anew(files | {"message.xml": decoy}, pki, tmp_path), script)
    assert status == 0, said


def test_a_second_element_where_one_belongs_is_refused() -> None:
    root = etree.fromstring("<a><b><c/></b><b/></a>")
    with pytest.raises(Broken, match=r"x\.xml: 2 elements b"):
        verify.only("x.xml", root, "b", "c")


def test_the_sender_cannot_sign_its_own_receipt(proof: Proof, tmp_path: Path, pki: Pki) -> None:
    """The receipt of what the municipality sent must be the clinic's, whatever else is sound in it."""
    files = unpack(proof.sent)
    files["certificates/recipient.pem"] = pem(pki.third.certificate)
    status, said = judged(unpack(_made_anew(files, pki, tmp_path).read_bytes()), tmp_path / "r.zip")
    assert (status, "✗ receipt.xml: another signed it" in said) == (1, True), said
    received = unpack(proof.received)
    # Whoever exports what it received signed the receipt; this is the sender as exporter of it.
    received["certificates/exporter.pem"] = files["certificates/exporter.pem"]
    anew = _made_anew(received, pki, tmp_path).read_bytes()
    status, said = judged(unpack(anew), tmp_path / "r.zip")
    assert (status, "✗ receipt.xml: another signed it" in said) == (1, True), said


@pytest.mark.parametrize(("agrees", "expected"), [(True, 0), (False, 1)])
def test_a_certificate_that_only_agrees_on_keys_has_another_of_its_name_that_signs(
    proof: Proof, pki: Pki, tmp_path: Path, agrees: bool, expected: int
) -> None:
    recipient = pki.authority.issue_system_certificate(
        CLINIC.access_point, "Eksempel", "10000009", uuid="k", not_before=pki.now,
        private_key=ec.generate_private_key(ec.SECP256R1()), agrees=agrees,
    )  # fmt: skip
    files = unpack(proof.sent) | {"certificates/recipient.pem": pem(recipient.certificate)}
    anew = _made_anew(files, pki, tmp_path).read_bytes()
    status, said = judged(unpack(anew), tmp_path / "k.zip")
    assert (status, "✗ receipt.xml: another signed it" in said) == (expected, bool(expected)), said


def _received_for(
    proof: Proof, pki: Pki, tmp_path: Path, recipient: x509.Certificate, **changed: bytes
) -> tuple[int, str]:
    """What the script says where this is the certificate that was found for the receiver."""
    files = unpack(proof.sent) | {"certificates/recipient.pem": pem(recipient)}
    files |= {f"certificates/{name}.pem": octets for name, octets in changed.items()}
    return judged(unpack(_made_anew(files, pki, tmp_path).read_bytes()), tmp_path / "renewed.zip")


RENEWED = ", signed with a renewed certificate of the same holder"


def test_a_receipt_may_be_signed_with_a_renewed_certificate_and_that_is_said(
    proof: Proof, pki: Pki, script: Path, tmp_path: Path
) -> None:
    """The directory still gave the old certificate when its holder already signed with the new one."""
    old = pki.certify(CLINIC.access_point, serial=821).certificate
    assert old.subject == pki.clinic.certificate.subject
    status, said = _received_for(proof, pki, tmp_path, old)
    assert (status, said.count(RENEWED)) == (0, 1), said
    assert verified(tmp_path / "renewed.zip", script)[0] == 0
    status, said = judged(unpack(proof.sent), tmp_path / "sent.zip")
    assert (status, said.count(RENEWED)) == (0, 0), said


def test_a_namesake_has_not_renewed_its_certificate(proof: Proof, pki: Pki, tmp_path: Path) -> None:
    """Another subject, another issuer, another key by the issuer's name, a certificate by itself, and no issuer to ask."""
    name, own = CLINIC.access_point, pki.clinic.certificate
    usurper = DevelopmentAuthority.create(at=pki.now, name="Stage", private_keys=_KEYS)
    usurped = pki.certify(name, authority=usurper).certificate
    assert (usurped.issuer, usurped.subject) == (own.issuer, own.subject)
    itself = (
        x509.CertificateBuilder(own.issuer, own.subject, pki.spare_key.public_key(), 7)
        .not_valid_before(own.not_valid_before_utc)
        .not_valid_after(own.not_valid_after_utc)
        .add_extension(own.extensions.get_extension_for_class(x509.KeyUsage).value, critical=True)
        .sign(pki.spare_key, hashes.SHA256())
    )
    elsewhere = pki.certify(name, authority=pki.untrusted_authority).certificate
    renewed = pki.certify(name, serial=821).certificate
    theirs = unpack(proof.sent)["certificates/receipt-signer.pem"]
    for recipient, path in (
        (pki.namesake(name).certificate, theirs),
        (elsewhere, theirs),
        (usurped, theirs),
        (itself, theirs),
        (renewed, pem(own)),
        (renewed, pem(own, *usurper.intermediates, *usurper.anchors)),
    ):
        status, said = _received_for(proof, pki, tmp_path, recipient, **{"receipt-signer": path})
        assert (status, "✗ receipt.xml: another signed it" in said) == (1, True), said


def test_a_renewed_certificate_does_not_excuse_a_signature_that_does_not_verify(
    proof: Proof, pki: Pki, tmp_path: Path
) -> None:
    files = unpack(proof.sent)
    _, *issuers = x509.load_pem_x509_certificates(files["certificates/receipt-signer.pem"])
    other = pki.certify(CLINIC.access_point, serial=822).certificate
    path = {"receipt-signer": pem(other, *issuers)}
    status, said = _received_for(proof, pki, tmp_path, pki.clinic.certificate, **path)
    assert (status, "✗ receipt.xml: the signature does not verify" in said) == (1, True), said


def test_without_the_signature_of_the_message_nothing_is_proven(
    proof: Proof, pki: Pki, tmp_path: Path
) -> None:
    files = unpack(proof.sent)
    manifest = json.loads(files["manifest.json"])
    del manifest["roles"]["message"]
    files["manifest.json"] = json.dumps(manifest).encode()
    anew = _made_anew(files, pki, tmp_path).read_bytes()
    status, said = judged(unpack(anew), tmp_path / "r.zip")
    assert status == 1
    assert "the message's own signature is missing" in said
    assert "repeats" not in said
    assert "everything held" not in said


def test_what_a_receiver_exports_says_whose_word_the_id_is(proof: Proof, tmp_path: Path) -> None:
    assert "is its exporter's word" in judged(unpack(proof.received), tmp_path / "in.zip")[1]
    assert "is its exporter's word" not in judged(unpack(proof.sent), tmp_path / "out.zip")[1]


def test_every_path_must_end_at_an_anchor_that_is_given(
    proof: Proof, pki: Pki, script: Path, tmp_path: Path
) -> None:
    path = tmp_path / "sent.zip"
    path.write_bytes(proof.sent)
    for authority, expected in ((pki.authority, 0), (pki.untrusted_authority, 1)):
        anchor = tmp_path / "anchor.pem"
        anchor.write_bytes(pem(*authority.anchors))
        status, said = verified(path, script, "--anchor", str(anchor))
        assert status == expected, said
        assert ("is not an anchor given" in said) == bool(expected)
    root = pki.authority.anchors[0].fingerprint(hashes.SHA256()).hex()
    status, said = verified(path, script)
    assert said.count(f"(SHA-256 {root})") == 3  # exporter, message signer, receipt signer


def test_the_path_of_the_exporter_is_checked(proof: Proof, pki: Pki, tmp_path: Path) -> None:
    """Its certificate may be newer than the message; its path must hold all the same."""
    files = unpack(proof.sent)
    leaf, *_ = x509.load_pem_x509_certificates(files["certificates/exporter.pem"])
    files["certificates/exporter.pem"] = pem(leaf, *pki.untrusted_authority.anchors)
    anew = _made_anew(files, pki, tmp_path).read_bytes()
    status, said = judged(unpack(anew), tmp_path / "e.zip")
    assert (status, "✗ certificates/exporter.pem" in said) == (1, True), said


def test_an_issuer_must_be_an_authority() -> None:
    """A certificate that the holder of a system certificate issued itself."""
    now = datetime.now(UTC)
    authority = DevelopmentAuthority.create(at=now - timedelta(days=2), private_keys=_KEYS)
    leaf = authority.issue_system_certificate(
        "mallory", "Mallory", "10000009", uuid="m", not_before=now - timedelta(days=1),
        private_key=_KEYS[0],
    )  # fmt: skip
    made = (
        x509.CertificateBuilder()
        .subject_name(system_name("victim", "Victim", "10000010", "v"))
        .issuer_name(leaf.certificate.subject)
        .public_key(_KEYS[1].public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(_KEYS[0], hashes.SHA256())
    )
    name = "certificates/receipt-signer.pem"
    path = [made, leaf.certificate, *authority.intermediates, *authority.anchors]
    with pytest.raises(Broken, match=r"was not issued by|is no authority"):
        check_path({name: pem(*path)}, name, now)


def test_an_export_is_in_the_journal(proof: Proof) -> None:
    """Who took a patient's document out of the node, or only its evidence, can be seen afterwards."""
    assert proof.exports["out"] == [False, False]
    assert proof.exports["in"] == [False, True]


@pytest.mark.attack("ADM-09")
def test_a_view_of_the_payload_is_in_the_audit_log_with_who_and_why(proof: Proof) -> None:
    assert proof.audited == [
        ("token-file", "evidence.exported", None),
        ("token-file", "payload.viewed", "a complaint"),
    ]
    assert "payload.xml" not in unpack(proof.received)


def _made_anew(files: Files, pki: Pki, tmp_path: Path) -> Path:
    """A bundle of these files with a manifest that fits them, signed by whoever exports it."""
    manifest = json.loads(files["manifest.json"])
    roles = {name: role for role, name in manifest["roles"].items()}
    items = [
        Item(entry["name"], entry["what"], files[entry["name"]], roles.get(entry["name"]))
        for entry in manifest["files"]
        if entry["name"] != "verify.py"
    ]
    path = tmp_path / "anew.zip"
    exporter = pki.municipality.signer()
    path.write_bytes(pack(items, message=manifest["message"], at=manifest["at"], exporter=exporter))
    return path


def test_a_certificate_that_was_revoked_or_not_valid_then_is_named() -> None:
    """The path of a signer, judged at the time of the receipt: before its revocation it was good."""
    now = datetime.now(UTC)
    authority = DevelopmentAuthority.create(at=now - timedelta(days=2), private_keys=_KEYS)
    issued = authority.issue_system_certificate(
        "partner", "Partner", "10000009", uuid="u", not_before=now - timedelta(days=1),
        private_key=_KEYS[0],
    )  # fmt: skip
    authority.revoke(issued.certificate, at=now - timedelta(hours=2))
    name = "certificates/receipt-signer.pem"
    path = [issued.certificate, *authority.intermediates, *authority.anchors]
    lists = {
        "revocation/list-1.crl": authority.crl(now),
        "revocation/list-2.crl": authority.root_crl(now),
    }
    files = {name: pem(*path), **lists}
    assert "3 certificates, 2 revocation lists, anchor" in check_path(
        files, name, now - timedelta(hours=3)
    )
    with pytest.raises(Broken, match=f"{name}: .* was revoked at"):
        check_path(files, name, now)
    with pytest.raises(Broken, match=f"{name}: .* was not valid at"):
        check_path(files, name, now - timedelta(days=30))
    with pytest.raises(Broken, match=f"{name}: .* was not issued by the next certificate"):
        check_path({name: pem(path[0], path[2])}, name, now)


@pytest.mark.parametrize("name", ["../up.txt", "/etc/x.txt", "a\\b.txt", "A.txt", "a/b/c.txt", "x"])
def test_a_bundle_takes_its_own_names_only(name: str) -> None:
    with pytest.raises(ValueError, match="own words"):
        Item(name, "", b"")


def test_the_script_is_small_and_stands_alone(script: Path) -> None:
    text = script.read_text("utf-8")
    assert len(text.splitlines()) < 270
    imported = {
        line.split()[1].split(".")[0]
        for line in text.splitlines()
        if line.startswith(("import ", "from "))
    }
    third = imported - set(sys.stdlib_module_names)
    assert third == {"cryptography", "lxml"}
