"""HospitalNotification rules, each broken once in a message that is otherwise valid."""

import pytest

from envelope.fhir import canonicals


def encounter(it):
    return it["entry"][2]["resource"]


def change(**content):
    return lambda it: encounter(it).update(content)


def replacement_number(it):
    it["entry"][1]["resource"]["identifier"] = [
        {"system": canonicals.X_ECPR, "value": "0703921VJ5"}
    ]


MUTATIONS = {
    "46 replacement number": ("hn-patient-cpr", replacement_number),
    "47 leave without start": ("hn-leave-start", change(status="onleave")),
    "48 ambulatory": (
        "hn-encounter-class",
        lambda it: encounter(it)["class"].update(code="AMB"),
    ),
    "49 reason": ("hn-encounter-forbidden", change(reasonCode=[{"text": "x"}])),
    "status": ("hn-encounter-status", change(status="planned")),
    "no provider": ("hn-encounter-required", lambda it: encounter(it).pop("serviceProvider")),
    "no start": ("hn-encounter-required", change(period={"end": "2026"})),
    "no episode": ("hn-episode", lambda it: encounter(it).pop("episodeOfCare")),
    "episode by reference": (
        "hn-episode",
        change(episodeOfCare=[{"reference": "EpisodeOfCare/1"}]),
    ),
    "episode not named": (
        "hn-episode-uuid",
        lambda it: encounter(it)["episodeOfCare"][0]["identifier"].update(
            value="urn:uuid:8e1f6a3c-6f0b-4c1e-9d5b-1f2e3d4c5b6a"
        ),
    ),
    "activity": (
        "provenance-activity",
        lambda it: it["entry"][-1]["resource"]["activity"]["coding"][0].update(code="new-message"),
    ),
    "revision": (
        "provenance-revision",
        lambda it: it["entry"][-1]["resource"]["activity"]["coding"][0].update(
            code="revise-admit-inpatient"
        ),
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_defect_is_caught_by_the_rule_for_it(hospital_notification, errors_in, name):
    rule, mutate = MUTATIONS[name]
    assert errors_in(hospital_notification) == set()
    mutate(hospital_notification)
    assert rule in errors_in(hospital_notification)


def test_a_leave_with_a_start_is_fine(hospital_notification, errors_in):
    encounter(hospital_notification)["status"] = "onleave"
    encounter(hospital_notification)["extension"] = [
        {
            "url": canonicals.LEAVE_EXTENSION,
            "valuePeriod": {"start": "2026-11-21T09:00:00+01:00"},
        }
    ]
    assert errors_in(hospital_notification) == set()


def test_a_local_episode_id_needs_no_particular_version(hospital_notification, errors_in):
    encounter(hospital_notification)["episodeOfCare"][0]["identifier"] = {
        "system": "https://sor2.sum.dsdn.dk/#id=1",
        "value": "urn:uuid:8e1f6a3c-6f0b-4c1e-9d5b-1f2e3d4c5b6a",
    }
    assert errors_in(hospital_notification) == set()
