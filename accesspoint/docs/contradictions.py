"""What was decided where the sources of EHMI contradict each other, as the table that the manual prints.

Each row says what differs, what we do, where an operator can choose otherwise, and which test holds the choice. A
test of the manual checks that no row is missing and that every test named here exists.

Spec: ehmi digest section 10.1, contradictions C-1 to C-24.
"""

from dataclasses import dataclass
from typing import Final

FIXED: Final = "fixed"
"""There is nothing to configure: both forms are understood, or only one is safe."""
NOTHING: Final = ""
"""There is no behaviour that a test could hold."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One contradiction: `setting` is the key of the configuration, `test` a file and a function in it."""

    name: str
    differs: str
    choice: str
    setting: str
    test: str


def _row(number: int, differs: str, choice: str, setting: str, test: str) -> Contradiction:
    return Contradiction(f"C-{number}", differs, choice, setting, test)


_EHMI: Final = "tests/envelope/test_ehmi.py"
_ACKNOWLEDGEMENT: Final = "tests/envelope/test_acknowledgement.py"
_SBDH: Final = "tests/envelope/test_sbdh.py"
_EVENT: Final = "tests/accesspoint/delivery/test_auditevent.py"

CONTRADICTIONS: Final = (
    _row(
        1,
        "who runs the register of service metadata: one authority in one text, another a month later",
        "no address of a locator or publisher is built in; a node knows those it is told",
        "`[directory] sml`, `smp`",
        "tests/accesspoint/discovery/test_dynamic.py::test_a_directory_has_a_locator_or_a_publisher",
    ),
    _row(
        2,
        "the Type of an acknowledgement's envelope: `ReceiptAcknowledgement` or `SBDHReceiptAcknowledgement`",
        "the first is written, both are read; that it is one is told by its Standard alone",
        FIXED,
        f"{_ACKNOWLEDGEMENT}::test_signal_with_unknown_and_missing_members_is_read",
    ),
    _row(
        3,
        "the StatisticalInformation of an acknowledgement: its own name, or that of the message it answers",
        "its own name is written; what others write is never read",
        FIXED,
        f"{_ACKNOWLEDGEMENT}::test_header_is_the_original_turned_round",
    ),
    _row(
        4,
        "whether the envelope of a FHIR Acknowledgement asks (`Request`) or answers (`Response`)",
        "it asks, since the flow needs the answer; one marked `Response` is answered too",
        FIXED,
        f"{_EHMI}::test_fhir_acknowledgement_marked_response_still_asks",
    ),
    _row(
        5,
        "the metadata of the copy to the document register: JSON in the samples, XML in the prose",
        "JSON is written, both are read",
        FIXED,
        "tests/envelope/fhir/test_document_reference.py::test_older_senders_write_xml",
    ),
    _row(
        6,
        "DOCUMENTID and PROCESSID are spelled in at least five ways",
        "a table: the newest form is written, the older ones mean the same when read, all compared exactly",
        FIXED,
        f"{_EHMI}::test_older_spelling_is_recognised",
    ),
    _row(
        7,
        "the namespace of BinaryContent: that of the header in the schema, Peppol's in newer samples",
        "the schema's is written, unless a partner wants the other; both are read",
        '`[partners.NAME] binary_content = "peppol"`',
        "tests/accesspoint/stations/test_message_service_handler.py"
        "::test_content_stands_in_the_namespace_that_the_receiver_expects",
    ),
    _row(
        8,
        "a Response without ExpectedResponseDateTime and with time 0, or as the schema has it",
        "what is written is valid, with the time of the request repeated; both forms are read",
        FIXED,
        f"{_SBDH}::test_relaxed_form_is_read",
    ),
    _row(
        9,
        "which identifiers tell a repetition: the two texts name other elements",
        "InstanceIdentifier of the envelope and scope MESSAGEIDENTIFIER",
        FIXED,
        "tests/accesspoint/stations/test_message_service_handler.py"
        "::test_a_new_envelope_of_a_known_message_gets_the_same_content_in_a_new_envelope",
    ),
    _row(
        10,
        "sending again: by a person only, by itself after 30 minutes and at most twice, or whenever there is an error",
        "an alert after 10 minutes, then a person decides; by itself where it is configured, at most twice",
        "`[acknowledging] alert`, `resend`, `resends`",
        "tests/accesspoint/stations/test_awaiting.py"
        "::test_by_itself_it_is_sent_again_after_thirty_minutes_and_at_most_twice",
    ),
    _row(
        11,
        "whether dynamic discovery is required of an access point",
        "all of it is there: dynamic sender and receiver, four corners, SBDH",
        "`[directory]`, `[trust] unknown_senders`",
        "tests/accesspoint/discovery/test_dynamic.py::test_a_registered_receiver_is_found_with_every_hop",
    ),
    _row(
        12,
        "the name of the transport profile in service metadata",
        "a list in order of preference",
        "`[directory] transport_profiles`",
        "tests/envelope/test_smp.py::test_endpoint_of_the_first_active_profile_is_chosen",
    ),
    _row(
        13,
        "the GLN in a delivery event: with the prefix of the envelope, or bare",
        "the bare 13 digits",
        FIXED,
        f"{_EVENT}::test_parties_carry_sor_and_bare_gln",
    ),
    _row(
        14,
        "the version of the transport envelope in a delivery event: 2.0, 1.2 or the HeaderVersion",
        "the HeaderVersion as it stands in the envelope",
        FIXED,
        "tests/accesspoint/delivery/test_events.py::test_facts_of_a_header_name_parties_message_and_both_envelopes",
    ),
    _row(
        15,
        "the message type in a delivery event: the Standard, or one of several titles",
        "the Standard is written; the status component keeps whatever it is given",
        FIXED,
        f"{_EVENT}::test_an_acknowledgement_is_reported_with_the_basic_profile_and_both_originals",
    ),
    _row(
        16,
        "what a station may read of the status component: what it reported, or all of what it handled",
        "what its own device reported",
        FIXED,
        "tests/accesspoint/status_component/test_service.py::test_a_station_reads_only_what_its_own_device_reported",
    ),
    _row(
        17,
        "the system of a GLN in FHIR: http or https",
        "both are understood; https in messages, http towards the endpoint register",
        FIXED,
        "tests/envelope/fhir/test_recognition.py::test_both_spellings_of_the_gln_system_are_understood",
    ),
    _row(
        18,
        "the names of the addressing service's operations",
        "those of its OperationDefinitions",
        FIXED,
        "tests/accesspoint/addressing/test_services.py::test_the_own_practice_of_a_patient_is_found",
    ),
    _row(
        19,
        "how clients of the status component prove who they are: an older text, or the security architecture",
        "the security architecture: client credentials over mutual TLS, tokens bound to the certificate",
        "`[delivery_status]`",
        "tests/accesspoint/delivery/test_token.py::test_a_real_authorization_server_over_mutual_tls",
    ),
    _row(
        20,
        "when the pilot begins and ends",
        "nothing in the program depends on it",
        FIXED,
        NOTHING,
    ),
    _row(
        21,
        "the canonical addresses of the delivery status profiles",
        "those of the newest guide, under `/ig/eds/`",
        FIXED,
        f"{_EVENT}::test_a_patient_message_is_reported_with_the_patient_profile",
    ),
    _row(
        22,
        "the TypeVersion of an acknowledgement: the version of the signals, or a name",
        "`ebbp-signals-2.0`",
        FIXED,
        f"{_EHMI}::test_acknowledgement_has_its_own_document",
    ),
    _row(
        23,
        "whether the document register archives a copy or shares it",
        "the words differ and the flow does not: one copy after the message was acknowledged",
        "`[sharing]`",
        "tests/accesspoint/stations/test_sharing.py"
        "::test_a_copy_is_owed_with_the_message_and_due_with_its_acknowledgement",
    ),
    _row(
        24,
        "whether an acknowledgement must be asked for, or may be left out",
        "every envelope asks; one that does not is taken and answered all the same",
        FIXED,
        f"{_EHMI}::test_every_envelope_asks_for_an_acknowledgement_within_ten_minutes",
    ),
)


def list_contradictions() -> str:
    """Write the contradictions as a Markdown table."""
    lines = [
        "| | the sources differ on | what we do | to choose otherwise | held by |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.name} | {one.differs} | {one.choice} | {one.setting} | {f'`{one.test}`' if one.test else 'nothing to hold'} |"
        for one in CONTRADICTIONS
    ]
    return "\n".join(lines)
