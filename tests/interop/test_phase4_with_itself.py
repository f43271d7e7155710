"""phase4 against itself: what the stranger does when all is well, and that it is able to say no.

phase4 rests on WSS4J and Santuario, so its verdict is that of another code base. The engine and its profile
are real; the processing mode of eDelivery AS4 1.15 is stated by our own few classes in `phase4/`.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from keys.devca import DevelopmentAuthority

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

Job = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("compress", [True, False], ids=["gzip", "as-is"])
@pytest.mark.parametrize("token", ["BST_DIRECT_REFERENCE", "ISSUER_SERIAL", "SKI_KEY_IDENTIFIER"])
def test_message_arrives_and_its_receipt_is_verified(
    phase4_sender,
    phase4_receiver,
    phase4_job: Job,
    payload: Path,
    clinic,
    compress: bool,
    token: str,
) -> None:
    receiver, url = phase4_receiver
    answer = phase4_sender.ask(phase4_job(url, compress=compress, token=token))
    assert answer["result"] == "SUCCESS", answer
    assert answer["receipt"]["verified"], answer
    signer = clinic.issued.certificate.public_bytes(Encoding.DER)
    assert answer["signed_by"] == hashlib.sha256(signer).hexdigest()
    received = receiver.listen()
    assert received["received"] == answer["message_id"]
    assert received["signature_verified"]
    assert received["decrypted"]
    assert received["properties"]["finalRecipient"]["value"] == "0088:5790000000029"
    digest = hashlib.sha256(payload.read_bytes()).hexdigest()
    assert [part["sha256"] for part in received["payloads"]] == [digest]


def test_duplicate_is_answered_with_a_signed_error_and_not_delivered_again(
    phase4_sender, phase4_receiver, phase4_job: Job, clinic
) -> None:
    """phase4 sends no second receipt for a duplicate but a signed failure, though the first copy was accepted.

    A sender that lost the receipt and retries must not take it for proof that nothing arrived.
    """
    receiver, url = phase4_receiver
    job = phase4_job(url, message_id="duplicate-1@municipality.example")
    assert phase4_sender.ask(job)["result"] == "SUCCESS"
    assert receiver.listen()["received"] == "duplicate-1@municipality.example"
    again = phase4_sender.ask(job)
    assert again["result"] == "AS4_ERROR_MESSAGE_RECEIVED"
    assert [(error["code"], error["severity"]) for error in again["errors"]] == [
        ("EBMS:0004", "failure")
    ]
    signer = clinic.issued.certificate.public_bytes(Encoding.DER)
    assert again["signed_by"] == hashlib.sha256(signer).hexdigest()
    assert receiver.silent()


def test_message_without_original_sender_is_refused(
    phase4_sender, phase4_receiver, phase4_job: Job
) -> None:
    receiver, url = phase4_receiver
    answer = phase4_sender.ask(phase4_job(url, properties={}))
    assert answer["result"] == "AS4_ERROR_MESSAGE_RECEIVED"
    assert {error["code"] for error in answer["errors"]} == {"EBMS:0010"}
    assert receiver.silent()


def test_message_signed_under_an_unknown_authority_is_refused(
    phase4_sender, phase4_receiver, phase4_job: Job, make_stations, clinic
) -> None:
    stranger, _ = make_stations(
        DevelopmentAuthority.create(at=datetime.now(UTC), name="Unknown"), "stranger", "accomplice"
    )
    receiver, url = phase4_receiver
    job = phase4_job(url, **stranger.job) | {"truststore": clinic.job["truststore"]}
    answer = phase4_sender.ask(job)
    assert answer["result"] == "AS4_ERROR_MESSAGE_RECEIVED"
    assert answer["errors"][0]["severity"] == "failure"
    assert receiver.silent()


def test_receipt_signed_under_an_unknown_authority_is_not_verified(
    phase4_sender, phase4_receiver, phase4_job: Job, make_stations
) -> None:
    """The sender trusts another authority than the one that issued the receiver's certificate."""
    stranger, _ = make_stations(
        DevelopmentAuthority.create(at=datetime.now(UTC), name="Unknown"), "stranger", "accomplice"
    )
    receiver, url = phase4_receiver
    answer = phase4_sender.ask(phase4_job(url, truststore=stranger.job["truststore"]))
    receiver.listen()
    assert answer["result"] != "SUCCESS"
    assert "receipt" not in answer


def test_mutual_tls(
    start_phase4, phase4_sender, phase4_job: Job, municipality, clinic, make_stations, tmp_path
) -> None:
    receiver = start_phase4("receive")
    ready = receiver.ask({**clinic.job, "folder": str(tmp_path), "tls": clinic.tls_job})
    answer = phase4_sender.ask(phase4_job(ready["url"], tls=municipality.tls_job))
    assert answer["result"] == "SUCCESS", answer
    assert receiver.listen()["received"] == answer["message_id"]
    stranger, _ = make_stations(
        DevelopmentAuthority.create(at=datetime.now(UTC), name="Unknown"), "stranger", "accomplice"
    )
    keys = {**stranger.tls_job, "truststore": municipality.tls_job["truststore"]}
    refused = phase4_sender.ask(phase4_job(ready["url"], tls=keys))
    assert refused["result"].startswith("TRANSPORT_ERROR")
    assert receiver.silent()
    receiver.close()
