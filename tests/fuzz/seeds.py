"""Genuine documents to begin from, made with the project's own builders: what is fuzzed best is almost right."""

import uuid
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import as4_wire
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.toml import write_toml
from envelope import fhir
from envelope.acknowledgement import build_acknowledgement
from envelope.codes import OTHER
from envelope.fhir.samples import build_samples
from envelope.pmode import SecuritySuite
from envelope.sbd_splitter import SbdSplitter
from envelope.sbdh import Base64Stream, build_sbd
from envelope.signals import build_error_messaging, build_receipt_messaging
from envelope.smp import (
    Endpoint,
    Process,
    Redirect,
    ServiceMetadata,
    SmpForm,
    SmpIdentifier,
    build_group_2,
    build_metadata_2,
    build_service_group,
    build_signed_service_metadata,
)
from envelope.soap import FaultCode, fault
from envelope.wsse import WireIds, sign_signal
from keys.devca import DevelopmentAuthority, IssuedCertificate
from tests.fuzz.targets import DOCUMENT, PARTICIPANT, SENT, SENT_ID

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@cache
def _certified(name: str) -> IssuedCertificate:
    return _authority().issue_system_certificate(
        name,
        "Eksempel",
        "10000009",
        uuid=str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
        not_before=NOW - timedelta(hours=1),
        private_key=_key(),
    )


@cache
def _authority() -> DevelopmentAuthority:
    return DevelopmentAuthority.create(at=NOW, name="Fuzz", private_keys=(_key(), _key()))


@cache
def _author() -> as4_wire.Author:
    clinic = _certified(CLINIC.access_point)
    return as4_wire.Author(_certified(MUNICIPALITY.access_point).signer(), clinic.certificate)


@cache
def _wires() -> tuple[as4_wire.Wire, ...]:
    author = _author()
    return (
        author.compose(),
        author.test_message(),
        author.test_message(encrypt=False),
        author.test_message(payloads=()),
    )


def _mime() -> Iterator[bytes]:
    for how, wire in enumerate(_wires()):
        yield bytes([how * 20]) + wire.content_type.encode() + b"\n" + wire.body


def _signals() -> Iterator[bytes]:
    signer, ids, suite = _author().signer, WireIds.new("signal"), SecuritySuite()
    told: dict[str, Any] = {
        "message_id": "answer@fuzz.example",
        "timestamp": "2026-11-21T12:00:01.000Z",
        "messaging_id": ids.messaging,
    }
    references = [each.xml for each in SENT]
    receipt = build_receipt_messaging(ref_to_message_id=SENT_ID, references=references, **told)
    error = build_error_messaging(ref_to_message_id=SENT_ID, errors=[OTHER], **told)
    for messaging in (receipt, error):
        yield sign_signal(messaging, signer=signer, suite=suite, ids=ids)
    yield fault(FaultCode.SENDER)


def _soap() -> Iterator[bytes]:
    yield from (wire.soap for wire in _wires())
    yield from _signals()


def _gzip() -> Iterator[bytes]:
    for octets in (b"", b"a short text", bytes(range(256)) * 20, b"\0" * 300_000):
        yield as4_wire.gzip(octets)
        stream = zlib.compressobj(9, zlib.DEFLATED, 31)
        yield stream.compress(octets) + stream.flush()


def _documents() -> Iterator[bytes]:
    document = as4_wire.business_document(str(uuid.UUID(int=1)), str(uuid.UUID(int=2)))
    yield document
    splitter = SbdSplitter()
    splitter.feed(document)
    header, signal = build_acknowledgement(
        splitter.finish(),
        instance_identifier=str(uuid.UUID(int=3)),
        message_identifier=str(uuid.UUID(int=4)),
        created_at=NOW,
    )
    prefix, suffix = build_sbd(header)
    encoder = Base64Stream()
    yield prefix + encoder.update(signal) + encoder.finish() + suffix


def _metadata() -> Iterator[bytes]:
    publisher = _certified("Publisher")
    signing: dict[str, Any] = {"key": publisher.private_key, "certificate": publisher.certificate}
    endpoint = Endpoint(
        transport_profile="bdxr-transport-ebms3-as4-v1p0",
        url="https://ap.fuzz.example/as4",
        certificate=publisher.certificate.public_bytes(Encoding.DER),
        activation=NOW - timedelta(days=1),
        expiration=NOW + timedelta(days=300),
    )
    process = Process(SmpIdentifier("urn:example:scheme", "process"), (endpoint,))
    for content in (
        ServiceMetadata(PARTICIPANT, DOCUMENT, (process,)),
        Redirect("https://smp.fuzz.example/", "uid"),
    ):
        for form in (SmpForm.OASIS_1, SmpForm.BUSDOX):
            yield build_signed_service_metadata(content, form=form, **signing)
        yield build_metadata_2(content, participant=PARTICIPANT, document_id=DOCUMENT, **signing)
    yield build_group_2(PARTICIPANT, [DOCUMENT])
    yield build_service_group(PARTICIPANT, ["https://smp.fuzz.example/x"])
    yield b"!^.*$!https://smp.fuzz.example/!"


def _messages() -> Iterator[bytes]:
    for bundle in build_samples().values():
        yield fhir.serialize(bundle, "json")
        yield fhir.serialize(bundle, "xml")


def _configurations() -> Iterator[bytes]:
    anchors = {"anchors": ["a.pem"]}
    unrevoked = {"revocation": "off", "revocation_reason": "fuzz"}
    yield write_toml(
        {
            "profile": "test",
            "label": "fuzz",
            "organisation": {"name": "Klinik", "gln": "5790000201389", "sor": "123456789012345"},
            "stations": {"device_ids": {"EUA": "eua", "MSH": "msh", "AP": "ap"}},
            "listen": {"as4": "127.0.0.1:0", "api": "127.0.0.1:0"},
            "keys": {"directory": "keys"},
            "store": {"directory": "store", "database": "postgresql://ap@127.0.0.1/ap"},
            "trust": {"message": {**anchors, **unrevoked}, "tls": anchors},
            "partners": {
                "other": {
                    "gln": "5790000201389",
                    "url": "https://b.example/as4",
                    "certificate": "b.pem",
                }
            },
            "backend": {"kind": "folder", "directory": "received"},
            "acknowledging": {"fhir": "off"},
        }
    ).encode()
    yield (Path(__file__).parents[2] / "compose" / "network.toml").read_bytes()


_MAKERS: dict[str, Callable[[], Iterator[bytes]]] = {
    "mime": _mime,
    "scan": lambda: iter((*_soap(), *_documents(), *_metadata())),
    "ebms": _soap,
    "security": lambda: (wire.soap for wire in _wires()),
    "receipt": _signals,
    "gzip": _gzip,
    "sbdh": _documents,
    "smp": _metadata,
    "fhir": _messages,
    "configuration": _configurations,
}


@cache
def seeds_of(target: str) -> tuple[bytes, ...]:
    """The documents that a target begins with."""
    return tuple(_MAKERS[target]())
