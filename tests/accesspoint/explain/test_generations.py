"""Both generations of eDelivery AS4: told apart by `explain`, and verified by the script of the evidence bundle."""

import base64
import io
import json
import zipfile
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from as4_generations import NEW, KeySet, key_set
from as4_stage import Pki
from as4_wire import Author, Wire

from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.evidence import verify
from accesspoint.evidence.bundle import MANIFEST, SIGNATURE, Item, pack
from accesspoint.explain.means import GivenTrust
from accesspoint.explain.report import build_report
from accesspoint.explain.text import render_text
from accesspoint.problems import Whose
from envelope.explain import Means
from envelope.pmode import SUITES, Generation
from keys.certificate import pem


@pytest.fixture(params=NEW, ids=str)
def generation(request: pytest.FixtureRequest) -> Generation:
    found: Generation = request.param
    return found


@pytest.fixture
def sets(pki: Pki, generation: Generation) -> tuple[KeySet, KeySet]:
    return (
        key_set(pki, MUNICIPALITY.access_point, generation),
        key_set(pki, CLINIC.access_point, generation),
    )


@pytest.fixture
def wire(sets: tuple[KeySet, KeySet], generation: Generation) -> Wire:
    sender, receiver = sets
    author = Author(sender.signing.signer(), receiver.agreement.certificate)
    return author.compose(suite=SUITES[generation])


def test_another_generation_is_named_and_looked_at_to_its_end(
    pki: Pki, generation: Generation, sets: tuple[KeySet, KeySet], wire: Wire
) -> None:
    authority = pki.authority
    trust = GivenTrust([*authority.anchors, *authority.intermediates])
    means = Means(trust, sets[1].agreement.decrypter())
    report = build_report(wire.body, means, name="capture", content_type=wire.content_type)
    assert report.broken is not None
    assert report.broken.reason == "alg.signature"
    lines = dict(report.lines)
    assert lines["otherwise"] == f"passes under eDelivery AS4 {generation}"
    assert lines["gates passed so"].endswith("G10")
    assert report.broken.rule.whose is Whose.UNKNOWN
    assert f"agree with us on eDelivery AS4 {generation}" in lines["write to the partner"]
    text = render_text(report, width=300)
    assert "✓ signature value" in text
    assert "✓ decryption" in text
    assert text.count("digest matches") == 3


def test_the_script_verifies_the_signatures_of_each_generation(
    sets: tuple[KeySet, KeySet], wire: Wire, tmp_path: Path
) -> None:
    signing = sets[0].signing
    path = pem(signing.certificate, *signing.chain)
    at = signing.certificate.not_valid_before_utc.isoformat()
    items = [
        Item("message.xml", "", wire.soap, "message"),
        Item("certificates/message-signer.pem", "", path, "message_signer"),
        Item("certificates/exporter.pem", "", path, "exporter"),
    ]
    message = {"message_id": wire.message_id, "payload_sha256": ""}
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(pack(items, message=message, at=at, exporter=signing.signer()))
    with redirect_stdout(io.StringIO()) as said:
        assert verify.main(bundle) == 0, said.getvalue()
    assert "✓ the message's signature verifies" in said.getvalue()
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    proof = json.loads(files[SIGNATURE])
    signer, nothing = signing.certificate, base64.b64encode(bytes(64)).decode("ascii")
    with pytest.raises(verify.Broken, match="does not verify"):
        verify.verify_octets(MANIFEST, signer, proof["algorithm"], nothing, files[MANIFEST])
