"""Documents and envelopes on their way between stations: what they say, and that they survive being written down."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from station_parts import BUNDLE, MESSAGE, RECEIVER, SENDER

from accesspoint.stations.document import Address, Document, Stored, event_of
from envelope.ehmi import DOCUMENTS
from envelope.errors import LocalProtocolError

STORED = Stored("0" * 32, 3, "ab" * 32)
DOCUMENT = Document(
    message_identifier=MESSAGE,
    message_envelope_identifier=BUNDLE,
    event_code="homecareobservation-message",
    definition_version="1.1",
    sender=SENDER,
    receiver=RECEIVER,
    patient_id="2512489996",
    statistical_postfix=None,
    original_message_identifier=None,
    media_type="application/fhir+json",
    stored=STORED,
)

_texts = st.text(max_size=20)
_addresses = st.builds(Address, _texts, _texts, st.none() | _texts)


@given(
    st.builds(
        Document,
        message_identifier=_texts,
        message_envelope_identifier=_texts,
        event_code=_texts,
        definition_version=st.none() | _texts,
        sender=_addresses,
        receiver=_addresses,
        patient_id=st.none() | _texts,
        statistical_postfix=st.none() | _texts,
        original_message_identifier=st.none() | _texts,
        media_type=_texts,
        stored=st.builds(Stored, _texts, st.integers(0), _texts),
    )
)
def test_a_document_survives_the_store(document: Document) -> None:
    assert Document.from_json(document.to_json()) == document


def test_a_document_names_itself_as_an_envelope_reads_it() -> None:
    assert (DOCUMENT.message_id, DOCUMENT.bundle_id) == (MESSAGE, BUNDLE)
    assert DOCUMENT.mime_type == "application/fhir+json"
    assert DOCUMENT.response is None
    assert not DOCUMENT.is_acknowledgement
    assert DOCUMENT.document_type.standard == "homecareobservation-message"
    elsewhere = Stored("1" * 32, 3, "ab" * 32)
    assert DOCUMENT.standing_at(elsewhere).stored == elsewhere


def test_events_of_a_message_name_its_patient_and_its_category() -> None:
    facts = replace(DOCUMENT, statistical_postfix="carecoordination").delivery_facts()
    assert facts.patient_id == "2512489996"
    assert facts.statistical_information == "MCM:homecareobservation-message#carecoordination"
    assert (facts.orig_message_identifier, facts.orig_standard) == (None, None)
    assert facts.transport_envelope_identifier is None


def test_events_of_an_acknowledgement_name_the_message_and_no_patient() -> None:
    answer = replace(
        DOCUMENT,
        event_code="acknowledgement-message",
        definition_version="2.0",
        original_message_identifier="answered",
    )
    facts = answer.delivery_facts()
    assert answer.is_acknowledgement
    assert answer.response is not None
    assert answer.response.identifier == "answered"
    assert facts.patient_id is None
    assert (facts.orig_message_identifier, facts.orig_standard, facts.orig_version) == (
        "answered",
        "unknown",
        "unknown",
    )
    assert facts.statistical_information == "MCM:acknowledgement-message"


def test_a_message_without_a_row_in_the_document_table_has_no_type() -> None:
    with pytest.raises(LocalProtocolError):
        replace(DOCUMENT, definition_version="9.9").delivery_facts()


@pytest.mark.parametrize(("event", "kind"), DOCUMENTS.items())
def test_the_event_of_an_envelope_leads_back_to_the_same_document_type(
    event: tuple[str, str | None], kind: object
) -> None:
    code, version = event_of(DOCUMENTS[event].standard, DOCUMENTS[event].type_version)
    assert code == event[0]
    assert DOCUMENTS[code, version] == kind


def test_an_envelope_of_an_unknown_version_has_no_event() -> None:
    with pytest.raises(LocalProtocolError):
        event_of("homecareobservation-message", "9.9")
