"""What a payload or a bare document is: an ehmiSBDH envelope, a MedCom FHIR message, an answer of an SMP, or just octets.

Content is described by size, digest and kind. Of a FHIR message only the routing is said, of a business header
everything but the scopes that are about a patient; findings of the validator name paths and never values.

Spec: ehmiSBDH 2.0; OASIS SMP 1.0 and 2.0, Busdox; decision D5.
"""

import re
from collections import Counter
from typing import Final

from cryptography import x509

from envelope import fhir, names, xml
from envelope.acknowledgement import read_acknowledgement
from envelope.ehmi import check_envelope, is_acknowledgement
from envelope.errors import CertificateRefused, RemoteProtocolError, SmpRefused
from envelope.explain.capture import describe_octets
from envelope.explain.certificate import show_certificate, show_trust
from envelope.explain.foreign import kind_of
from envelope.explain.gates import Means, is_business_document
from envelope.explain.node import Mark, Node, broken, look
from envelope.names import q
from envelope.sbd_splitter import SbdSplitter
from envelope.sbdh import ScopeType, StandardBusinessDocumentHeader
from envelope.seal import verify_service_metadata
from envelope.security_token import load_certificate
from envelope.smp import (
    CANONICALIZATIONS,
    MetadataContent,
    Redirect,
    SmpForm,
    find_form,
    read_content,
    read_service_group,
)

_ROOT: Final = re.compile(rb"<(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)")
_PERSONAL: Final = frozenset({ScopeType.PATIENTID, ScopeType.XDS_METADATA})
SERVICE: Final = frozenset({"SignedServiceMetadata", "ServiceMetadata", "ServiceGroup"})
"""The elements of an answer of an SMP."""
_FORM_NAMES: Final = {
    SmpForm.OASIS_1: "OASIS SMP 1.0",
    SmpForm.BUSDOX: "Busdox",
    SmpForm.OASIS_2: "OASIS SMP 2.0",
}
_MOST_FINDINGS: Final = 50


def root_name(octets: bytes) -> str:
    """The local name of the first element, or nothing for what does not begin like XML."""
    start = octets[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    found = _ROOT.search(start) if start.startswith(b"<") else None
    return "" if found is None else found[1].decode("ascii", "replace")


def is_known(octets: bytes) -> bool:
    """Whether content is of a kind that is looked into here, rather than just described."""
    return is_business_document(octets) or root_name(octets) in SERVICE or _is_fhir(octets)


def _is_fhir(octets: bytes) -> bool:
    start = octets[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    return root_name(octets) == "Bundle" or start.startswith(b"{")


def show_content(label: str, octets: bytes, means: Means) -> Node:
    """Describe content of any kind, and look into the kinds that are known here."""
    if is_business_document(octets):
        return _show_document(label, octets, means)
    name = root_name(octets)
    if name in SERVICE:
        return _show_service(label, octets, name, means)
    if _is_fhir(octets):
        return _show_fhir(label, octets, means)
    kind = f"XML <{name}>" if name else kind_of(octets)
    return Node(label, f"{kind}, {describe_octets(octets)}", octets=means.kept(octets))


def _show_document(label: str, octets: bytes, means: Means) -> Node:
    splitter = SbdSplitter(means.limits)
    try:
        payload = splitter.feed(octets)
        header = splitter.finish()
    except RemoteProtocolError as refusal:
        size = Node("size", describe_octets(octets))
        return broken(f"{label}: StandardBusinessDocument", refusal, size)
    scopes = tuple(
        Node(
            f"scope {scope.type}",
            "(about a patient: not shown)"
            if scope.type in _PERSONAL
            else scope.instance_identifier,
        )
        for scope in header.scopes
    )
    children = [
        Node("sender", header.sender.value),
        Node("receiver", header.receiver.value),
        Node("standard", f"{header.standard} {header.type_version}"),
        Node("envelope", f"{header.instance_identifier}, {header.creation_date_and_time}"),
        *scopes,
    ]
    try:
        check_envelope(header)
        children.append(Node("ehmiSBDH rules", "hold", Mark.HOLDS))
    except RemoteProtocolError as refusal:
        children.append(broken("ehmiSBDH rules", refusal))
    if is_acknowledgement(header):
        children.append(look("acknowledgement", lambda: _show_acknowledgement(header, payload)))
    children.append(show_content("BinaryContent", payload, means))
    return Node(
        f"{label}: StandardBusinessDocument", describe_octets(octets), children=tuple(children)
    )


def _show_acknowledgement(header: StandardBusinessDocumentHeader, payload: bytes) -> Node:
    said = read_acknowledgement(header, payload)
    about = f"of envelope {said.original_instance_identifier}"
    if said.exception is None:
        return Node("acknowledgement", f"positive, {about}", Mark.HOLDS)
    kind = f"{said.exception.kind} {said.exception.value}"
    return Node("acknowledgement", f"negative, {about}: {kind}", Mark.NOTED)


def _show_fhir(label: str, octets: bytes, means: Means) -> Node:
    size = describe_octets(octets)
    try:
        message = fhir.read_message(octets, limits=means.limits)
    except fhir.MessageRefused as refused:
        return Node(
            label,
            f"{'XML' if octets.lstrip().startswith(b'<') else 'JSON'} that is no FHIR message here, {size}",
            Mark.NOTED,
            tuple(_show_finding(found) for found in refused.findings),
            octets=means.kept(octets),
        )
    children: list[Node] = []
    try:
        facts = fhir.recognise(message)
    except fhir.MessageRefused as refused:
        children += [_show_finding(found) for found in refused.findings]
    else:
        version = facts.definition_version or "without version"
        children += [
            Node("event", f"{facts.event_code}, {version}"),
            Node("ids", f"Bundle {facts.bundle_id}, MessageHeader {facts.message_id}"),
            Node("sender", f"GLN {facts.sender.gln}, SOR {facts.sender.sor}"),
            Node("receiver", f"GLN {facts.receiver.gln}, SOR {facts.receiver.sor}"),
        ]
    entries = message.bundle.get("entry", [])
    kinds = Counter(
        str(entry["resource"].get("resourceType"))
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get("resource"), dict)
    )
    children.append(
        Node("resources", ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())))
    )
    findings = fhir.validate(message)
    errors = fhir.errors_of(findings)
    children.append(
        Node(
            "MedCom rules",
            f"{len(errors)} errors, {len(findings) - len(errors)} other findings",
            Mark.BROKEN if errors else Mark.HOLDS,
            tuple(_show_finding(found) for found in findings[:_MOST_FINDINGS]),
        )
    )
    return Node(
        f"{label}: FHIR message",
        f"{message.format}, {size}",
        children=tuple(children),
        octets=means.kept(octets),
    )


def _show_finding(found: fhir.Finding) -> Node:
    mark = Mark.BROKEN if found.severity == "error" else Mark.NOTED
    return Node(found.rule, f"{found.text} (at {found.path})", mark)


def _show_service(label: str, octets: bytes, name: str, means: Means) -> Node:
    if name == "ServiceGroup":
        group = read_service_group(octets, limits=means.limits)
        links = tuple(Node("service", link) for link in group.references)
        return Node(f"{label}: ServiceGroup", group.participant.value, children=links)
    children: list[Node] = []
    signers: list[tuple[x509.Certificate, tuple[x509.Certificate, ...]]] = []
    root = xml.scan(octets, means.limits, payload=True).root
    form = find_form(root)
    if root.find(q(names.DS, "Signature")) is not None:
        try:
            verify_service_metadata(
                octets,
                check=lambda signer, chain: signers.append((signer, tuple(chain))),
                canonicalizations=CANONICALIZATIONS[form],
                limits=means.limits,
            )
            children.append(Node("signature", "verifies", Mark.HOLDS))
        except SmpRefused as refusal:
            children.append(broken("signature", refusal))
    else:
        unsigned = SmpRefused("the answer is not signed", reason="smp.unsigned")
        children.append(broken("signature", unsigned))
    for signer, chain in signers:
        children += [
            show_certificate("signer", signer, None),
            show_trust(means.trust, signer, chain, None),
        ]
    children.append(look("content", lambda: _show_metadata(read_content(root, form))))
    said = f"{describe_octets(octets)}, {_FORM_NAMES[form]}"
    return Node(f"{label}: {name}", said, children=tuple(children))


def _show_metadata(content: MetadataContent) -> Node:
    if isinstance(content, Redirect):
        by = content.certificate_uid or "the certificate that it holds"
        return Node("redirect", f"{content.href}, signed by {by}")
    endpoints = []
    for process in content.processes:
        for endpoint in process.endpoints:
            try:
                certificate = show_certificate(
                    "certificate", load_certificate(endpoint.certificate), None
                )
            except CertificateRefused as refusal:
                certificate = broken("certificate", refusal)
            endpoints.append(
                Node(
                    f"endpoint for {process.process_id.value}",
                    f"{endpoint.transport_profile} at {endpoint.url}",
                    children=(certificate,),
                )
            )
    return Node(
        "metadata",
        f"{content.participant.value} takes {content.document_id.value}",
        children=tuple(endpoints),
    )
