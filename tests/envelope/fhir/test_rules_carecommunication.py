"""CareCommunication rules beyond the defects of `test_mutations`."""

import copy

import pytest


@pytest.fixture
def communication(care_communication, pick):
    """The Communication of the message."""
    return pick(care_communication, "Communication")


def encounter(**content):
    def mutate(it):
        it["entry"].append(
            {
                "resource": {
                    "resourceType": "Encounter",
                    "id": "ophold",
                    "status": "unknown",
                    "class": {"code": "IMP"},
                    **content,
                }
            }
        )

    return mutate


EPISODE = {"episodeOfCare": [{"identifier": {"value": "urn:uuid:x"}}]}


def test_a_role_is_not_coded_here_and_in_words_there(care_communication, pick, errors_in):
    pick(care_communication, "PractitionerRole")["code"].append({"text": "Visitator"})
    assert errors_in(care_communication) == {"cc-author-role"}


def test_the_definition_is_medcoms(care_communication, pick, errors_in):
    pick(care_communication, "MessageHeader")["definition"] = "urn:x|5.0"
    assert errors_in(care_communication) == {"header-definition-cc"}


@pytest.mark.parametrize("place", ["practitioner-extension", "contact-extension"])
def test_a_text_has_author_and_contact(care_communication, communication, errors_in, place):
    payload = communication["payload"][0]
    payload["extension"] = [each for each in payload["extension"] if place not in each["url"]]
    assert errors_in(care_communication) == {"cc-payload-author"}


def test_44_a_source_that_is_no_payload_warns(care_communication, errors_in, warnings_in):
    entity = care_communication["entry"][-1]["resource"]["entity"][0]
    entity["what"]["identifier"]["value"] = "urn:uuid:5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1d99"
    assert errors_in(care_communication) == set()
    assert "cc-source-payload" in warnings_in(care_communication)


def test_45_eleven_attachments_warn(care_communication, communication, errors_in, warnings_in):
    payloads = communication["payload"]
    payloads += [copy.deepcopy(payloads[1]) for _ in range(10)]
    assert errors_in(care_communication) == set()
    assert "cc-attachment-count" in warnings_in(care_communication)


def test_a_referenced_encounter_with_an_episode_is_fine(
    care_communication, communication, errors_in
):
    encounter(**EPISODE)(care_communication)
    communication["encounter"] = {"reference": "Encounter/ophold"}
    assert errors_in(care_communication) == set()


def test_an_attachment_sent_before_has_neither_data_nor_type(
    care_communication, communication, errors_in
):
    communication["payload"][1]["contentAttachment"] = {"title": "bilag"}
    assert errors_in(care_communication) == set()
