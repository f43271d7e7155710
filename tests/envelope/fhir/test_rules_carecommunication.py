"""CareCommunication rules, each broken once in a message that is otherwise valid."""

import copy

import pytest


def communication(it):
    return it["entry"][1]["resource"]


def change(name, value):
    return lambda it: communication(it).update({name: value})


def drop(name):
    return lambda it: communication(it).pop(name)


def category(code):
    def mutate(it):
        communication(it)["category"][0]["coding"][0]["code"] = code
        communication(it).pop("priority")

    return mutate


def without_extension(number, suffix):
    def mutate(it):
        payload = communication(it)["payload"][number]
        payload["extension"] = [e for e in payload["extension"] if suffix not in e["url"]]

    return mutate


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

MUTATIONS = {
    "38 no category": ("cc-category", drop("category")),
    "38 unknown category": ("cc-category-known", category("invented")),
    "39 other without topic": ("cc-topic", category("other")),
    "40 priority": (
        "cc-priority",
        lambda it: communication(it)["category"][0]["coding"][0].update(code="nursing"),
    ),
    "40 other priority": ("cc-priority-known", change("priority", "stat")),
    "41 status": ("cc-status", change("status", "completed")),
    "42 no payload identifier": (
        "cc-payload-identifier",
        without_extension(0, "identifier-extension"),
    ),
    "42 no payload date": ("cc-payload-date", without_extension(1, "datetime-extension")),
    "42 no author": ("cc-payload-author", without_extension(0, "practitioner-extension")),
    "42 no contact": ("cc-payload-author", without_extension(0, "contact-extension")),
    "43 only attachment": (
        "cc-text-payload",
        lambda it: communication(it)["payload"].pop(0),
    ),
    "attachment type": (
        "cc-attachment-type",
        lambda it: communication(it)["payload"][1]["contentAttachment"].update(contentType="a/b"),
    ),
    "attachment title": (
        "cc-attachment-title",
        lambda it: communication(it)["payload"][1]["contentAttachment"].pop("title"),
    ),
    "thread": ("cc-thread", change("identifier", [{"value": "x"}])),
    "subject": ("cc-subject", drop("subject")),
    "header profile": ("cc-header-profile", lambda it: it["entry"][0]["resource"].pop("meta")),
    "provenance profile": (
        "cc-provenance-profile",
        lambda it: it["entry"][-1]["resource"].pop("meta"),
    ),
    "no source": ("cc-source", lambda it: it["entry"][-1]["resource"].pop("entity")),
    "practitioner name": (
        "cc-practitioner-name",
        lambda it: it["entry"][4]["resource"].pop("name"),
    ),
    "role twice": (
        "cc-author-role",
        lambda it: it["entry"][3]["resource"]["code"].append({"coding": [{"code": "x"}]}),
    ),
    "role without person": (
        "cc-author-practitioner",
        lambda it: it["entry"][3]["resource"].pop("practitioner"),
    ),
    "encounter without episode": ("cc-encounter-episode", encounter()),
    "encounter not referenced": ("cc-encounter-referenced", encounter(**EPISODE)),
    "definition": (
        "header-definition-cc",
        lambda it: it["entry"][0]["resource"].update(definition="urn:x|5.0"),
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_defect_is_caught_by_the_rule_for_it(care_communication, errors_in, name):
    rule, mutate = MUTATIONS[name]
    assert errors_in(care_communication) == set()
    mutate(care_communication)
    assert rule in errors_in(care_communication)


def test_44_a_source_that_is_no_payload_warns(care_communication, errors_in, warnings_in):
    entity = care_communication["entry"][-1]["resource"]["entity"][0]
    entity["what"]["identifier"]["value"] = "urn:uuid:5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1d99"
    assert errors_in(care_communication) == set()
    assert "cc-source-payload" in warnings_in(care_communication)


def test_45_eleven_attachments_warn(care_communication, errors_in, warnings_in):
    payloads = communication(care_communication)["payload"]
    payloads += [copy.deepcopy(payloads[1]) for _ in range(10)]
    assert errors_in(care_communication) == set()
    assert "cc-attachment-count" in warnings_in(care_communication)


def test_a_referenced_encounter_with_an_episode_is_fine(care_communication, errors_in):
    encounter(**EPISODE)(care_communication)
    communication(care_communication)["encounter"] = {"reference": "Encounter/ophold"}
    assert errors_in(care_communication) == set()


def test_an_attachment_sent_before_has_neither_data_nor_type(care_communication, errors_in):
    communication(care_communication)["payload"][1]["contentAttachment"] = {"title": "bilag"}
    assert errors_in(care_communication) == set()
