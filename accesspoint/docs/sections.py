"""Which section of the standards is obeyed where, what tests it, and what is left out, as the table of the manual.

A test of the manual checks that every file named here exists, and that every module named is imported by a test that
is named beside it. What nothing covers says so.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Final


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its document, what it is about, the modules and test files by name, and what is not covered, and why."""

    document: str
    about: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]
    missing: str


def _of(document: str, *rows: tuple[str, str, str, str]) -> tuple[Section, ...]:
    return tuple(
        Section(
            document,
            about,
            tuple(modules.split()),
            tuple(f"tests/{name}.py" for name in tests.split()),
            missing,
        )
        for about, modules, tests, missing in rows
    )


SECTIONS: Final = (
    *_of(
        "EHMI: architecture",
        (
            "roles and corners; stations built together, grouped or apart",
            "accesspoint.app accesspoint.stations",
            "accesspoint/test_app accesspoint/stations/test_stations e2e/demo/test_demo",
            "",
        ),
        (
            "an access point for many organisations, an address with several systems",
            "accesspoint.identity accesspoint.backends.pull",
            "accesspoint/test_identity e2e/test_many_organisations accesspoint/stations/test_fan_out e2e/test_fan_out",
            "",
        ),
        (
            "sealing and encryption between stations that are separate products",
            (
                "accesspoint.stations.carrier accesspoint.stations.link accesspoint.stations.reception "
                "accesspoint.stations.relay envelope.seal keys.tls"
            ),
            (
                "accesspoint/stations/test_carrier accesspoint/stations/test_link accesspoint/stations/test_reception "
                "accesspoint/stations/test_relay envelope/test_seal envelope/test_seal_oracles keys/test_tls "
                "e2e/test_reliable_apart"
            ),
            "no public text fixes the form: another product has to be told ours",
        ),
        (
            "the flow of one message and everything that answers it",
            (
                "accesspoint.stations.end_user_application accesspoint.stations.message_service_handler "
                "accesspoint.outbound.sender accesspoint.inbound.receiver"
            ),
            (
                "accesspoint/stations/test_end_user_application accesspoint/stations/test_message_service_handler "
                "accesspoint/outbound/test_sender accesspoint/inbound/test_receiver e2e/test_exchange e2e/demo/test_demo"
            ),
            "",
        ),
        (
            "encryption from application to application",
            "",
            "",
            "EHMI specifies none; the access point sees the envelope in clear",
        ),
        (
            "the closed network, its agreements, and environments kept apart",
            "accesspoint.networks",
            "accesspoint/test_networks accesspoint/as4/test_client_networks",
            "registrations and approvals are agreements between people; only the limit to allowed networks is code",
        ),
    ),
    *_of(
        "ehmiSBDH",
        (
            "structure, cardinalities and the schema",
            "envelope.sbdh envelope.sbdh_values envelope.sbd_splitter",
            (
                "envelope/test_sbdh envelope/test_sbdh_schema envelope/test_sbdh_hostile accesspoint/delivery/test_events "
                "hostile/test_broken_document"
            ),
            "",
        ),
        (
            "header fields and where they come from; which scopes who needs",
            "envelope.ehmi envelope.sbdh",
            "envelope/test_ehmi envelope/test_sbdh hostile/test_refused_envelope",
            "",
        ),
        (
            "DOCUMENTID and PROCESSID, newest and older spellings",
            "envelope.ehmi",
            "envelope/test_ehmi",
            "the legacy EDIFACT and OIOXML types of the terminology: no such message is carried",
        ),
        (
            "BinaryContent: types, two namespaces, size",
            "envelope.sbd_splitter accesspoint.stations.sbd_file",
            "envelope/test_sbdh accesspoint/stations/test_sbd_file e2e/test_streaming",
            "",
        ),
        (
            "Request and Response scopes, and the ebBP signal in an acknowledgement",
            "envelope.acknowledgement envelope.ehmi",
            "envelope/test_acknowledgement envelope/test_ehmi envelope/test_official_schema",
            "NonRepudiationInformation and a signature in the signal: unused by EHMI, ignored when read",
        ),
        (
            "reliable messaging: the duplicate table, the five scenarios, the timers",
            "envelope.duplicates accesspoint.stations.awaiting",
            (
                "envelope/test_duplicates accesspoint/stations/test_awaiting e2e/test_reliable_messaging "
                "e2e/test_reliable_apart"
            ),
            "",
        ),
        (
            "nothing is lost between one component and the next",
            "accesspoint.inbound.dispatch accesspoint.store.sqlite accesspoint.verification",
            (
                "accesspoint/inbound/test_dispatch accesspoint/store/test_sqlite accesspoint/verification/test_planted "
                "crash/test_walk_sqlite crash/test_walk_postgresql e2e/test_restart simulation/test_simulation "
                "soak/test_soak"
            ),
            "",
        ),
        (
            "XDS-METADATA: the copy for the document register (EMR)",
            "envelope.fhir.document_reference accesspoint.stations.sharing accesspoint.network.document_sharing",
            (
                "envelope/fhir/test_document_reference accesspoint/stations/test_sharing "
                "accesspoint/network/test_document_sharing e2e/test_sharing e2e/demo/test_demo_share"
            ),
            "which moment the copy leaves at and how often is unsaid: once, after the acknowledgement",
        ),
    ),
    *_of(
        "EHMI: access point, with eDelivery AS4 1.15",
        (
            "what is required of an access point",
            "accesspoint.conformance.runner accesspoint.conformance.assertion",
            (
                "accesspoint/conformance/test_ourselves accesspoint/conformance/test_broken_nodes "
                "accesspoint/conformance/test_broken_surroundings accesspoint/conformance/test_runner"
            ),
            "the EU's own conformance test and MedCom's approval are given by others; a test here is neither",
        ),
        (
            "P-Mode values, of which EHMI publishes none",
            "envelope.pmode envelope.selection accesspoint.config_partner",
            (
                "envelope/test_selection accesspoint/test_identity accesspoint/inbound/test_pmodes "
                "accesspoint/outbound/test_pmodes"
            ),
            "",
        ),
        (
            "security of a message: signature, encryption, compression, receipt",
            "envelope.wsse envelope.xmldsig envelope.xmlenc envelope.compression envelope.coverage envelope.receipts",
            (
                "envelope/test_wsse envelope/test_xmldsig envelope/test_xmlenc envelope/test_compression "
                "envelope/test_coverage envelope/test_receipts interop/test_phase4 hostile/test_tampered_header "
                "hostile/test_lying_receiver"
            ),
            "",
        ),
        (
            "reception awareness: trying again, and the same receipt for a repetition",
            "accesspoint.retry accesspoint.outbound.sender",
            "accesspoint/test_retry accesspoint/outbound/test_sender hostile/test_replayed_message",
            "",
        ),
        (
            "four corners: originalSender and finalRecipient against the envelope",
            "envelope.messaging envelope.ehmi",
            "envelope/test_messaging envelope/test_ehmi hostile/test_wrong_address",
            "",
        ),
        (
            "the code lists: transport profiles, participant scheme, document types",
            "accesspoint.config_directory envelope.ehmi",
            "accesspoint/discovery/test_forms envelope/test_ehmi",
            "the OIOXML document types of 2021: no such message is carried",
        ),
        (
            "OCES3 certificates: RSASSA-PSS chains, policies, whose a certificate is",
            "keys.path keys.certificate keys.identity keys.crl keys.devca accesspoint.trust",
            (
                "keys/test_path keys/test_certificate keys/test_identity keys/test_crl keys/test_devca "
                "accesspoint/test_trust hostile/test_untrusted_certificate"
            ),
            "revocation is read from lists, OCSP is not asked; the roots of production are unpublished and configured",
        ),
        (
            "the trial of 2022",
            "",
            "",
            "history; its PROCESSID spellings are read, as those of the ehmiSBDH are",
        ),
    ),
    *_of(
        "EHMI: SMP and SML",
        (
            "service metadata: model, formats, signature",
            "envelope.smp accesspoint.discovery.smp accesspoint.discovery.static accesspoint.network.publisher",
            (
                "envelope/test_smp envelope/test_smp_forms accesspoint/discovery/test_dynamic "
                "accesspoint/discovery/test_static accesspoint/network/test_publisher"
            ),
            "",
        ),
        (
            "locating: U-NAPTR, CNAME, static; percent-encoded paths; what is remembered",
            "envelope.smp accesspoint.discovery.sml accesspoint.discovery.cache accesspoint.network.locator",
            (
                "envelope/test_smp_addresses accesspoint/discovery/test_dynamic accesspoint/discovery/test_forms "
                "accesspoint/discovery/test_cache accesspoint/network/test_locator e2e/test_directory_forms"
            ),
            "no locator or publisher of the sector has been met: their addresses are unpublished",
        ),
        (
            "extensions of the endpoint register that feed service metadata",
            "accesspoint.addressing.vocabulary",
            "accesspoint/addressing/test_services",
            "only the certificate of the access point; the ids that registration hands out have no use before it",
        ),
        (
            "registered participants",
            "accesspoint.network.organisations",
            "accesspoint/network/test_organisations",
            "invented ones, in one file; the pilot's are its own",
        ),
    ),
    *_of(
        "EHMI Delivery Status (EDS)",
        (
            "profiles and rules of each element; code systems",
            "accesspoint.delivery.auditevent accesspoint.delivery.terminology",
            "accesspoint/delivery/test_auditevent accesspoint/delivery/test_events",
            "",
        ),
        (
            "which station reports what",
            "accesspoint.stations.reporting",
            "accesspoint/stations/test_reporting e2e/demo/test_demo e2e/demo/test_demo_share e2e/test_created_apart",
            "",
        ),
        (
            "interaction, as a station: the queue, its order, errors",
            "accesspoint.delivery.outbox accesspoint.delivery.relay",
            "accesspoint/delivery/test_outbox accesspoint/delivery/test_relay accesspoint/delivery/test_outage",
            "",
        ),
        (
            "interaction, as the component: create, read, capabilities, no change, no deletion",
            (
                "accesspoint.status_component.service accesspoint.status_component.store "
                "accesspoint.status_component.resource"
            ),
            (
                "accesspoint/status_component/test_service accesspoint/status_component/test_store "
                "accesspoint/status_component/test_search"
            ),
            "reports in XML, which the guide allows, are refused (415): stations here write JSON",
        ),
        (
            "search parameters",
            "accesspoint.status_component.search accesspoint.status_component.finding",
            "accesspoint/status_component/test_search accesspoint/status_component/test_service",
            "how fast at a million is measured by `tests/load/status_search.py`, outside the suite",
        ),
        (
            "access rules",
            "accesspoint.status_component.access",
            "accesspoint/status_component/test_service accesspoint/status_component/test_queries",
            "",
        ),
        (
            "user stories of sender, receiver, component and citizen",
            (
                "accesspoint.tracking.pages accesspoint.tracking.journey accesspoint.tracking.culprit "
                "accesspoint.tracking.permissions accesspoint.status_component.queries"
            ),
            (
                "accesspoint/tracking/test_pages accesspoint/tracking/test_culprit accesspoint/tracking/test_whereabouts "
                "accesspoint/status_component/test_queries e2e/test_track_and_trace"
            ),
            "",
        ),
    ),
    *_of(
        "EHMI Endpoint Register (EER) and Addressing Service (EAS)",
        (
            "the register: model, search, read",
            "accesspoint.addressing.register accesspoint.addressing.receivers accesspoint.network.endpoint_register",
            "accesspoint/addressing/test_services accesspoint/addressing/test_recipients",
            "writing to it: registration is a person's work at MedCom, and no station may",
        ),
        (
            "the addressing operations and their errors",
            "accesspoint.addressing.service accesspoint.network.addressing_service",
            "accesspoint/addressing/test_services",
            "",
        ),
        (
            "addressing, from a patient to an access point",
            "accesspoint.addressing.receivers accesspoint.api.recipients",
            "accesspoint/addressing/test_recipients accesspoint/cli/test_address",
            "",
        ),
    ),
    *_of(
        "Security architecture of the EHMI services",
        (
            "client credentials over mutual TLS, tokens bound to the certificate",
            "accesspoint.delivery.token accesspoint.network.authorization keys.jwk",
            "accesspoint/delivery/test_token accesspoint/network/test_authorization keys/test_jwk",
            "",
        ),
        (
            "registration of a client, scopes, claims",
            "accesspoint.network.authorization accesspoint.status_component.access",
            "accesspoint/network/test_authorization accesspoint/status_component/test_service",
            "",
        ),
        (
            "clients of people: authorization code, PAR, PKCE, refresh",
            "accesspoint.status_component.access accesspoint.tracking.sign_in",
            "accesspoint/status_component/test_service accesspoint/tracking/test_pages",
            "the component obeys the tokens of users, but nothing here obtains one: the pages have a code, on loopback only",
        ),
        (
            "what a resource server checks of a token",
            "keys.jwk accesspoint.network.fhir_service",
            "keys/test_jwk accesspoint/status_component/test_service accesspoint/addressing/test_services",
            "the revocation of a token, for which no interface is specified; tokens last minutes",
        ),
    ),
    *_of(
        "EHMI: test and production pilot",
        ("timeline and steps to be connected", "", "", "dates, and agreements between people"),
        (
            "what each role must pass, and the self-test made from it",
            "",
            "architecture/test_selftest",
            "MedCom's protocols for access points are unpublished; `python tests/selftest.py` runs the twelve points",
        ),
        (
            "contradictions, each decided",
            "accesspoint.docs.contradictions",
            "accesspoint/docs/test_pages",
            "",
        ),
        (
            "values that no source gives",
            "accesspoint.config",
            "accesspoint/test_config",
            "each is a setting, or a default of ours; no list of them is kept as there is of the contradictions",
        ),
    ),
    *_of(
        "MedCom messaging",
        (
            "recognising a message; JSON and XML",
            "envelope.fhir.recognition envelope.fhir.reading envelope.fhir.writing",
            "envelope/fhir/test_recognition envelope/fhir/test_reading envelope/fhir/test_writing",
            "",
        ),
        (
            "Bundle, ids, references",
            "envelope.fhir.rules_bundle envelope.fhir.rules_structure",
            "envelope/fhir/test_rules_bundle envelope/fhir/test_rules_structure envelope/fhir/test_mutations",
            "",
        ),
        (
            "MessageHeader",
            "envelope.fhir.rules_header",
            "envelope/fhir/test_rules_header envelope/fhir/test_mutations",
            "",
        ),
        (
            "organizations and the patient",
            "envelope.fhir.rules_parties envelope.fhir.formats",
            "envelope/fhir/test_rules_parties envelope/fhir/test_formats",
            "the optional codes of municipality and region are not judged",
        ),
        (
            "Provenance",
            "envelope.fhir.rules_provenance",
            "envelope/fhir/test_rules_provenance envelope/fhir/test_mutations",
            "",
        ),
        (
            "timestamps",
            "envelope.fhir.formats envelope.fhir.rules_bundle",
            "envelope/fhir/test_formats envelope/fhir/test_rules_bundle",
            "",
        ),
        (
            "narrative",
            "envelope.fhir.building envelope.fhir.rules_structure",
            "envelope/fhir/test_building envelope/fhir/test_rules_structure",
            "whether a narrative says all that it must: published examples do not, so only form and presence are judged",
        ),
        (
            "sizes and attachments",
            "envelope.limits envelope.fhir.rules_carecommunication",
            "accesspoint/api/test_messages_refused envelope/fhir/test_rules_carecommunication",
            "",
        ),
        (
            "reliable messaging between applications: duplicates, waiting, answering again",
            "envelope.fhir.duplicates accesspoint.stations.end_user_application accesspoint.stations.answering",
            (
                "envelope/fhir/test_duplicates accesspoint/stations/test_end_user_application "
                "accesspoint/stations/test_answering e2e/test_reliable_messaging"
            ),
            "sending again is the message service handler's, by a person or as configured",
        ),
        (
            "who validates what; an external validator",
            "accesspoint.stations.judging accesspoint.cli.validate",
            (
                "accesspoint/stations/test_judging accesspoint/cli/test_validate envelope/fhir/test_rules "
                "envelope/fhir/test_outcome"
            ),
            "the rules are a reference; a certified system has an HL7 validator, for which there is the hook",
        ),
        (
            "MessageDefinition and the fields of the envelope",
            "envelope.ehmi envelope.fhir.recognition",
            "envelope/test_ehmi envelope/fhir/test_recognition",
            "names on the VANS network: nothing is bridged to it",
        ),
        (
            "code lists",
            "envelope.fhir.canonicals envelope.fhir.catalogue",
            "envelope/fhir/test_mutations envelope/fhir/test_samples",
            "roles of practitioners are an example binding and are not judged; result groups never occur in a message",
        ),
        (
            "invariants, and a mutation for each rule",
            "envelope.fhir.catalogue envelope.fhir.mutations envelope.fhir.mutations_content",
            "envelope/fhir/test_mutations envelope/fhir/test_verdicts accesspoint/docs/test_pages",
            "",
        ),
        (
            "synthetic messages and published examples",
            "envelope.fhir.synthetic envelope.fhir.samples",
            "envelope/fhir/test_synthetic envelope/fhir/test_samples e2e/test_round_trip",
            "",
        ),
    ),
    *_of(
        "MedCom HomeCareObservation",
        (
            "content, correction, cancellation",
            "envelope.fhir.rules_homecareobservation envelope.fhir.synthetic",
            "envelope/fhir/test_rules_homecareobservation envelope/fhir/test_synthetic envelope/fhir/test_mutations",
            "",
        ),
    ),
    *_of(
        "MedCom CareCommunication",
        (
            "content, reply, forward",
            "envelope.fhir.rules_carecommunication envelope.fhir.synthetic_care_communication",
            "envelope/fhir/test_rules_carecommunication envelope/fhir/test_samples envelope/fhir/test_mutations",
            "that a reply repeats every earlier text: a message alone does not show it",
        ),
    ),
    *_of(
        "MedCom HospitalNotification",
        (
            "content and use cases",
            "envelope.fhir.rules_hospitalnotification envelope.fhir.synthetic_hospital_notification",
            "envelope/fhir/test_rules_hospitalnotification envelope/fhir/test_samples envelope/fhir/test_mutations",
            "",
        ),
    ),
    *_of(
        "MedCom Acknowledgement",
        (
            "codes, content, OperationOutcome",
            "envelope.fhir.acknowledgement envelope.fhir.rules_acknowledgement",
            (
                "envelope/fhir/test_acknowledgement envelope/fhir/test_rules_acknowledgement "
                "accesspoint/stations/test_answering"
            ),
            "",
        ),
    ),
)


def list_sections() -> str:
    """Write the sections as a table for each document."""
    lines: list[str] = []
    for document, rows in groupby(SECTIONS, key=lambda one: one.document):
        lines += [
            f"## {document}",
            "",
            "| section | obeyed by | tested by | not covered, and why |",
            "|---|---|---|---|",
            *(
                f"| {one.about} | {_code(one.modules)} | {_code(one.tests)} | {one.missing or '–'} |"
                for one in rows
            ),
            "",
        ]
    return "\n".join(lines).rstrip()


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"
