"""The PyPI package `as4` as a peer, in an environment of its own: composes, receives and judges in Peppol's shape.

One job is one JSON object on a line of standard input, its answer one on standard output; octets travel in files.
The package decides everything: this file only carries values in and verdicts out.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from as4 import AS4LocalPrivateKey
from as4.peppol import (
    PeppolAS4MessageBuilderArgs,
    PeppolAS4Profile,
    PeppolSendingExchange,
    create_peppol_external_party,
    create_peppol_internal_party,
    parse_peppol_message,
    peppol_security_policy,
)
from as4.profiles.peppol.document_identifier import BusdoxDocidQnsDocumentIdentifier
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

SENT: dict[str, PeppolSendingExchange] = {}


def certificate(file: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(file).read_bytes())


def own_party(job: dict[str, Any]) -> Any:
    key = load_pem_private_key(Path(job["key"]).read_bytes(), None)
    return create_peppol_internal_party(
        job["party"], certificate(job["certificate"]), AS4LocalPrivateKey(key)
    )


def compose(job: dict[str, Any]) -> dict[str, Any]:
    """Write the body of one message into `job["body"]`; the answer has its headers and its id."""
    exchange = PeppolSendingExchange(
        profile=PeppolAS4Profile,
        local_party=own_party(job),
        remote_party=create_peppol_external_party(
            job["partner"], certificate(job["partner_certificate"])
        ),
    )
    arguments = PeppolAS4MessageBuilderArgs(
        sender=job["sender"],
        recipient=job["recipient"],
        document_type_identifier=BusdoxDocidQnsDocumentIdentifier.from_identifier_value(
            job["document_type"]
        ),
        document_identification_instance_identifier=job["instance"],
        process_identifier=job["process"],
        c1_country_id="DK",
    )
    headers, body = exchange.build(Path(job["payload"]).read_bytes(), arguments)
    Path(job["body"]).write_bytes(body)
    SENT[exchange.message_id] = exchange
    signed = {reference.uri for reference in exchange.signed_references}
    return {"headers": headers, "message_id": exchange.message_id, "signed": sorted(signed)}


def judge(job: dict[str, Any]) -> dict[str, Any]:
    """What the package says of the signal that answered a message of its own."""
    exchange = SENT[job["message_id"]].mark_sent()
    exchange.receive_signal(Path(job["body"]).read_bytes())
    errors = [{"code": error.error_code, "severity": error.severity} for error in exchange.errors]
    return {"state": exchange.state.value, "errors": errors}


def take(job: dict[str, Any]) -> dict[str, Any]:
    """Receive the request in `job["body"]` and write the signal that answers it into `job["answer"]`."""
    anchors = [certificate(file) for file in job["anchors"]]
    exchange = parse_peppol_message(
        {"Content-Type": job["content_type"]},
        Path(job["body"]).read_bytes(),
        local_party=own_party(job),
        security_policy=peppol_security_policy(anchors[0], intermediates=anchors[1:]),
    )
    headers, signal = exchange.build_signal()
    Path(job["answer"]).write_bytes(signal)
    message = exchange.message
    payloads = message.decrypted_data or {}
    return {
        "state": exchange.state.value,
        "problem": repr(message.parse_error) if message.parse_error else None,
        "message_id": exchange.message_id,
        "sender": message.sender,
        "recipient": message.recipient,
        "payloads": [hashlib.sha256(payload).hexdigest() for payload in payloads.values()],
        "content_type": headers["Content-Type"],
    }


def main() -> None:
    jobs = {"compose": compose, "judge": judge, "take": take}
    for line in sys.stdin:
        job = json.loads(line)
        try:
            answer = jobs[job["do"]](job)
        except Exception as problem:  # noqa: BLE001 - whatever the package raises is its verdict
            answer = {"refused": f"{type(problem).__name__}: {problem}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
