"""The defects that the rules are tried on: for each rule one that it alone tells of, and those of the specification's table.

`TOLERATED` are the changes that a receiver must take without an error. The defects of a message's own content stand in
`mutations_content`.

Spec: medcom-fhir.md 20.
"""

from collections.abc import Callable
from typing import Final

from envelope.fhir import canonicals
from envelope.fhir.mutation import (
    NARRATIVE,
    Change,
    Mutation,
    add,
    append_at,
    both,
    drop,
    find,
    more,
    put,
    remove_at,
    twice,
    without,
)
from envelope.fhir.mutations_content import CONTENT, UNKNOWN_ID
from envelope.fhir.reading import Resource
from envelope.limits import DEFAULT_LIMITS

_HCO: Final = "hco-new"
_MARKERS: Final = 200 * DEFAULT_LIMITS.elements  # as many as the reader lets a message have


def _div(inside: str) -> str:
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{inside}</div>'


def _replace(old: bytes, new: bytes, count: int = 1) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new, count)


def _first(new: bytes) -> Callable[[bytes], bytes]:
    """Put bytes into the first object of the JSON text."""
    return lambda data: b"{" + new + data[1:]


def _other_organization(**identifiers: str) -> Resource:
    systems = {"sor": canonicals.SOR, "yder": canonicals.YDERNUMMER}
    return {
        "resourceType": "Organization",
        "id": "6f1c7c0a-2c51-4b3e-8a3b-6f7c1d2e3f40",
        "text": NARRATIVE,
        "identifier": [
            {"system": systems[name], "value": value} for name, value in identifiers.items()
        ],
    }


def _header_last(bundle: Resource) -> None:
    bundle["entry"].append(bundle["entry"].pop(0))


def _event_uri(bundle: Resource) -> None:
    remove_at(find(bundle, "MessageHeader"), "eventCoding")
    find(bundle, "MessageHeader")["eventUri"] = "urn:event"


def _destination(use: str | None) -> Change:
    """Add a destination like the one there is, for this use or for none."""

    def change(bundle: Resource) -> None:
        header = find(bundle, "MessageHeader")
        copied = {key: item for key, item in header["destination"][0].items() if key != "extension"}
        if use is not None:
            coding = {"system": canonicals.DESTINATION_USE_SYSTEM, "code": use}
            copied["extension"] = [
                {"url": canonicals.DESTINATION_USE_EXTENSION, "valueCoding": coding}
            ]
        append_at(header, "destination", copied)

    return change


def _patient_as(name: str) -> Change:
    """Let an element of the header point at the patient."""

    def change(bundle: Resource) -> None:
        patient = {"reference": f"Patient/{find(bundle, 'Patient')['id']}"}
        find(bundle, "MessageHeader")[name] = [patient] if name == "focus" else patient

    return change


READING: Final = (
    Mutation("no braces and no tags", "message-format", _HCO, raw=lambda _: b"TEST", number="54"),
    Mutation(
        "UTF-16",
        "message-format",
        _HCO,
        raw=lambda data: data.decode().encode("utf-16"),
        number="54",
    ),
    Mutation("cut in the middle", "json-syntax", _HCO, raw=lambda data: data[:-40], number="54"),
    Mutation(
        "a member named twice", "json-duplicate-key", _HCO, raw=_first(b'"resourceType":"Bundle",')
    ),
    Mutation(
        "101 MB",
        "message-size",
        _HCO,
        raw=lambda data: data.ljust(101 * 1024 * 1024),
        number="54",
    ),
    Mutation(
        "half a million elements",
        "message-elements",
        _HCO,
        raw=_first(b'"x":[' + b"0," * _MARKERS + b"0],"),
    ),
    Mutation(
        "two hundred objects inside each other",
        "message-depth",
        _HCO,
        raw=_first(b'"x":' + b'{"x":' * 200 + b"0" + b"}" * 200 + b","),
    ),
    Mutation("a resource that is no Bundle", "message-bundle", _HCO, put("Bundle", "resourceType", "Patient")),
    Mutation("XML cut in the middle", "xml-syntax", _HCO, raw=lambda data: data[:-40], wire="xml", number="54"),
    Mutation(
        "another namespace",
        "xml-namespace",
        _HCO,
        raw=_replace(b"http://hl7.org/fhir", b"http://hl7.org/other"),
        wire="xml",
        number="54",
    ),
    Mutation(
        "an encoding other than UTF-8",
        "xml-encoding",
        _HCO,
        raw=_replace(b"encoding='UTF-8'", b"encoding='ISO-8859-1'"),
        wire="xml",
    ),
    Mutation(
        "a processing instruction",
        "xml-instruction",
        _HCO,
        raw=_replace(b"<entry>", b"<?x y?><entry>"),
        wire="xml",
    ),
    Mutation(
        "a document type with an entity",
        "xml-doctype",
        _HCO,
        raw=_replace(b"<Bundle ", b'<!DOCTYPE x [<!ENTITY e "e">]><Bundle '),
        wire="xml",
        number="54",
    ),
    Mutation(
        "a thousand attributes",
        "xml-attributes",
        _HCO,
        raw=_replace(b"<entry>", b"<entry " + b" ".join(b'a%d="1"' % n for n in range(1000)) + b">"),
        wire="xml",
    ),
    Mutation(
        "an attribute that FHIR does not define",
        "xml-attribute",
        _HCO,
        raw=_replace(b"<entry>", b'<entry class="x">'),
        wire="xml",
    ),
    Mutation(
        "elements out of order",
        "xml-order",
        _HCO,
        raw=lambda data: _swapped(data, b'<type value="message"/>'),
        wire="xml",
    ),
    Mutation("text between elements", "xml-text", _HCO, raw=_replace(b"<entry>", b"<entry>x"), wire="xml"),
    Mutation(
        "an element without value",
        "xml-empty",
        _HCO,
        raw=_replace(b"<name>", b"<active/><name>"),
        wire="xml",
    ),
    Mutation(
        "two resources in one entry",
        "xml-resource",
        _HCO,
        raw=_replace(b"</MessageHeader>", b"</MessageHeader><Patient/>"),
        wire="xml",
    ),
)  # fmt: skip
"""Defects of the wire form, which are told before there is a message to hold against rules."""


def _swapped(data: bytes, element: bytes) -> bytes:
    return data.replace(element, b"", 1).replace(b"</Bundle>", element + b"</Bundle>")


STRUCTURE: Final = (
    Mutation("an element of the sender's own", "structure-unknown-element", _HCO, put("Patient", "nickname", "x")),
    Mutation("given names as one text", "structure-shape", _HCO, put("Patient", "name.0.given", "x")),
    Mutation("an empty list", "structure-empty", _HCO, put("Patient", "telecom", [])),
    Mutation("Observation without status", "structure-required", _HCO, drop("Observation", "status"), "31"),
    Mutation("Observation without code", "structure-required", _HCO, drop("Observation", "code"), "31"),
    Mutation("two value[x]", "structure-choice", _HCO, put("Observation", "valueString", "x"), "30"),
    Mutation("text for a boolean", "structure-datatype", _HCO, put("Patient", "active", "yes")),
    Mutation("broken base64 in Media", "structure-datatype", _HCO, put("Media", "content.data", "QUJ"), "35"),
    Mutation("Bundle.timestamp without zone", "structure-date", _HCO, put("Bundle", "timestamp", "2026-11-21T10:00:00"), "4"),
    Mutation("Provenance.recorded without zone", "structure-date", _HCO, put("Provenance", "recorded", "2026-11-21T10:00:00"), "16"),
    Mutation("a gender FHIR does not know", "structure-code", _HCO, put("Patient", "gender", "x")),
    Mutation("response code `error`", "structure-code", "ack-fatal-error", put("MessageHeader", "response.code", "error"), "51"),
    Mutation("a name of a million characters and one", "structure-length", _HCO, put("Organization", "name", "x" * 1_048_577)),
    Mutation("a clinical comment over a million characters", "structure-length", _HCO, put("DiagnosticReport", "conclusion", "x" * 1_048_577)),
    Mutation("a script in the narrative", "structure-narrative", _HCO, put("Patient", "text.div", _div("<script>x</script>"))),
    Mutation("Bundle.type is not message", "bundle-type", _HCO, put("Bundle", "type", "collection"), "1"),
    Mutation("a Bundle of another profile", "bundle-profile", _HCO, put("Bundle", "meta.profile", [canonicals.MESSAGE_BUNDLE])),
    Mutation("the header is not first", "bundle-first-entry", _HCO, _header_last, "2"),
    Mutation("two headers", "bundle-one-header", _HCO, twice("MessageHeader")),
    Mutation("an entry without resource", "bundle-entry-resource", _HCO, add("Bundle", "entry", {"fullUrl": "https://accesspoint.example/x"})),
    Mutation("Patient without narrative", "narrative-present", _HCO, drop("Patient", "text")),
    Mutation(
        "an image inside the narrative",
        "narrative-attachment",
        _HCO,
        put("Patient", "text.div", _div('<img src="data:image/png;base64,QUJD"/>')),
    ),
)  # fmt: skip

HEADER: Final = (
    Mutation("eventUri instead of eventCoding", "header-event-coding", _HCO, _event_uri, "6"),
    Mutation("an unknown event code", "header-event-known", _HCO, put("MessageHeader", "eventCoding.code", "x"), "5"),
    Mutation("an unknown event system", "header-event-known", _HCO, put("MessageHeader", "eventCoding.system", "urn:x"), "5"),
    Mutation("a destination without use", "header-destination-use", _HCO, _destination(None)),
    Mutation("no primary destination", "header-primary-destination", _HCO, drop("MessageHeader", "destination"), "7"),
    Mutation("two primary destinations", "header-primary-destination", _HCO, _destination("primary"), "9"),
    Mutation("a copy destination", "header-no-copy-destination", _HCO, _destination("cc"), "8"),
    Mutation("a destination without receiver", "header-receiver", _HCO, drop("MessageHeader", "destination.0.receiver")),
    Mutation("no sender", "header-sender", _HCO, drop("MessageHeader", "sender")),
    Mutation(
        "an endpoint of another organization",
        "header-endpoint",
        _HCO,
        put("MessageHeader", "source.endpoint", f"{canonicals.SOR_ENDPOINT}73091000016008"),
    ),
    Mutation("no focus", "header-focus", _HCO, drop("MessageHeader", "focus")),
    Mutation("a focus in an Acknowledgement", "header-focus", "ack-fatal-error", put("MessageHeader", "focus", [{"reference": "MessageHeader/x"}])),
    Mutation("the patient as focus", "header-focus-type", _HCO, _patient_as("focus")),
    Mutation("no definition", "header-definition", _HCO, drop("MessageHeader", "definition"), "33"),
    Mutation("HomeCareObservation 2.0", "header-definition-hco", _HCO, put("MessageHeader", "definition", f"{canonicals.HCO_DEFINITION}|2.0"), "33"),
    Mutation("CareCommunication 4.0", "header-definition-cc", "cc-new", put("MessageHeader", "definition", f"{canonicals.CC_DEFINITION}|4.0")),
    Mutation("a definition without bar", "header-definition-bar", _HCO, put("MessageHeader", "definition", f"{canonicals.HCO_DEFINITION}1.1")),
    Mutation("Acknowledgement 2.0.0", "header-definition-ack", "ack-ok", put("MessageHeader", "definition", f"{canonicals.ACK_DEFINITION}|2.0.0")),
    Mutation("a definition in a HospitalNotification", "header-definition-unused", "hn-admit-inpatient", put("MessageHeader", "definition", "urn:x")),
    Mutation("a header of another profile", "header-profile", _HCO, put("MessageHeader", "meta.profile", [canonicals.MESSAGE_HEADER])),
    Mutation("a response in a first message", "header-no-response", _HCO, put("MessageHeader", "response", {"identifier": UNKNOWN_ID, "code": "ok"})),
    Mutation("a report of admission that is neither yes nor no", "hn-report-of-admission", "hn-report-of-admission", both(drop("MessageHeader", "extension.0.valueBoolean"), put("MessageHeader", "extension.0.valueString", "x"))),
)  # fmt: skip

REFERENCES: Final = (
    Mutation("two entries with one fullUrl", "bundle-full-url-unique", _HCO, lambda bundle: bundle["entry"][2].update(fullUrl=bundle["entry"][1]["fullUrl"])),
    Mutation("a fullUrl with a version", "bundle-full-url-version", _HCO, lambda bundle: bundle["entry"][1].update(fullUrl=bundle["entry"][1]["fullUrl"] + "/_history/1")),
    Mutation("one Observation twice", "resource-unique", _HCO, twice("Observation", same_id=True)),
    Mutation("a resource without id", "resource-id", _HCO, drop("Provenance", "id")),
    Mutation("an id that is no UUID", "resource-id-uuid", _HCO, put("Provenance", "id", "trin-1")),
    Mutation("the receiver is not in the bundle", "reference-bundled", _HCO, put("MessageHeader", "destination.0.receiver.reference", f"Organization/{UNKNOWN_ID}"), "12"),
    Mutation("the patient as sender", "reference-type", _HCO, _patient_as("sender")),
    Mutation("the patient's organization is not in the bundle", "reference-other", _HCO, put("Patient", "managingOrganization", {"reference": f"Organization/{UNKNOWN_ID}"})),
    Mutation("an Encounter nobody points at", "cc-encounter-referenced", "cc-full", drop("Communication", "encounter")),
)  # fmt: skip

PARTIES: Final = (
    Mutation("the receiver without GLN", "organization-gln", _HCO, drop("Organization", "identifier.0")),
    Mutation("the receiver without SOR id", "organization-sor", _HCO, drop("Organization", "identifier.1"), "11"),
    Mutation("two SOR ids", "organization-sor", _HCO, add("Organization", "identifier", {"system": canonicals.SOR, "value": "73091000016008"})),
    Mutation("a GLN of twelve digits", "gln-length", _HCO, put("Organization", "identifier.0.value", "579000012709")),
    Mutation("the sender's GLN with a wrong check digit", "gln-check-digit", _HCO, put("Organization", "identifier.0.value", "5790000123110", 1), "10"),
    Mutation("an organization with a provider number alone", "organization-identified", _HCO, more(_other_organization(yder="061654"))),
    Mutation("a CVR number with a wrong check digit", "organization-cvr", _HCO, add("Organization", "identifier", {"system": "http://cvr.dk", "value": "12345678"})),
    Mutation("a KOMBIT id that is no UUID", "organization-kombit", _HCO, add("Organization", "identifier", {"system": canonicals.KOMBIT, "value": "x"})),
    Mutation("a SOR id of seven digits", "sor-digits", _HCO, more(_other_organization(sor="1144561"))),
    Mutation("a CPR number for temporary use", "identifier-use", _HCO, put("Patient", "identifier.0.use", "temp")),
    Mutation("two Patients", "patient-count", _HCO, twice("Patient"), "17"),
    Mutation("a patient without number", "patient-identifier", _HCO, drop("Patient", "identifier")),
    Mutation("born on the 31st of February", "patient-cpr", _HCO, put("Patient", "identifier.0.value", "3102489996"), "18"),
    Mutation("a national eCPR in lower case", "patient-x-ecpr", "hco-ecpr", put("Patient", "identifier.0.value", "0703921vj5"), "19"),
    Mutation("a regional eCPR in lower case", "patient-d-ecpr", "cc-ecpr", put("Patient", "identifier.0.value", "0703920ab1"), "19"),
    Mutation("no official name", "patient-official-name", _HCO, drop("Patient", "name.0.use"), "20"),
)  # fmt: skip

RELIABLE: Final = (
    Mutation("no Bundle.id", "bundle-id", _HCO, drop("Bundle", "id"), "3"),
    Mutation("no Bundle.timestamp", "bundle-timestamp", _HCO, drop("Bundle", "timestamp"), "3"),
    Mutation("no Provenance", "provenance-present", _HCO, without("Provenance"), "13"),
    Mutation("a Provenance of another header", "provenance-current", _HCO, put("Provenance", "target.0.reference", f"MessageHeader/{UNKNOWN_ID}"), "14"),
    Mutation("a step of the history about no header", "provenance-target", "hco-modified", put("Provenance", "target.0.reference", f"Patient/{UNKNOWN_ID}", 1)),
    Mutation("a step without time of day", "provenance-occurred", _HCO, put("Provenance", "occurredDateTime", "2026-11-21")),
    Mutation("an activity of no message here", "provenance-activity", _HCO, put("Provenance", "activity.coding.0.code", "carboncopy-message"), "15"),
    Mutation("a correction of nothing", "provenance-revision", "hco-modified", drop("Provenance", "entity")),
    Mutation("a cancellation of nothing", "provenance-removal", "hco-retracted", drop("Provenance", "entity")),
    Mutation("a new message that follows another", "provenance-first", _HCO, add("Provenance", "entity", {"role": "revision", "what": {"reference": f"MessageHeader/{UNKNOWN_ID}"}})),
)  # fmt: skip

MUTATIONS: Final = (*READING, *STRUCTURE, *HEADER, *REFERENCES, *PARTIES, *RELIABLE, *CONTENT)
"""All of them, in the order of the layers."""

TOLERATED: Final = (
    Mutation("ids that are no UUIDs", "resource-id-uuid", _HCO, put("Bundle", "id", "ejklfdsio8klakfd.hjfkdshfjk")),
    Mutation("a resource nobody knows", "", _HCO, more({"resourceType": "Basic", "id": UNKNOWN_ID, "code": {"text": "x"}})),
    Mutation("an analysis outside the repertoire", "hco-observation-known", _HCO, put("Observation", "code.coding.0.code", "NPU99999")),
    Mutation("no narrative", "narrative-present", _HCO, drop("DiagnosticReport", "text")),
    Mutation("a relative fullUrl", "", _HCO, lambda bundle: bundle["entry"][1].update(fullUrl=f"Patient/{bundle['entry'][1]['resource']['id']}")),
    Mutation("a profile with version", "", _HCO, put("Bundle", "meta.profile", [f"{canonicals.HCO_BUNDLE}|1.2.1"])),
    Mutation("an organization without name", "", _HCO, drop("Organization", "name")),
    Mutation("a time in UTC", "", _HCO, put("Bundle", "timestamp", "2026-11-21T09:15:00Z")),
    Mutation("a byte order mark", "", _HCO, raw=lambda data: b"\xef\xbb\xbf" + data),
    Mutation("an extension of the sender's own that points outside", "reference-other", _HCO, add("MessageHeader", "extension", {"url": "https://accesspoint.example/x", "valueReference": {"reference": "Device/x"}})),
)  # fmt: skip
"""Changes that are no defect; the rule, where one is named, only warns."""
