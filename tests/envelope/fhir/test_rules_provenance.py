"""Provenance rules beyond the table of defects in `test_rules`."""

import copy


def test_a_correction_names_what_it_corrects(sample, pick, errors_in):
    provenance = pick(sample, "Provenance")
    provenance["activity"]["coding"][0]["code"] = "modified-message"
    provenance["entity"] = [{"role": "revision", "what": {"reference": "MessageHeader/earlier"}}]
    assert errors_in(sample) == set()


def test_a_cancellation_names_what_it_withdraws(sample, pick, errors_in):
    provenance = pick(sample, "Provenance")
    provenance["activity"]["coding"][0]["code"] = "retract-message"
    provenance["entity"] = [{"role": "removal", "what": {"reference": "MessageHeader/earlier"}}]
    assert errors_in(sample) == set()


def _with_history(sample, pick, code):
    earlier = copy.deepcopy(pick(sample, "Provenance"))
    earlier["id"] = "5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1d09"
    earlier["target"][0]["reference"] = "MessageHeader/5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1d08"
    earlier["activity"]["coding"][0]["code"] = code
    sample["entry"].append({"resource": earlier})


def test_the_history_points_outside_the_bundle(sample, pick, errors_in, warnings_in):
    _with_history(sample, pick, "new-message")
    assert (errors_in(sample), warnings_in(sample)) == (set(), set())


def test_a_step_of_the_history_has_a_known_activity(sample, pick, errors_in):
    _with_history(sample, pick, "modify-message")
    assert errors_in(sample) == {"provenance-activity"}


def test_two_steps_for_the_same_message_are_an_error(sample, pick, errors_in):
    again = copy.deepcopy(pick(sample, "Provenance"))
    again["id"] += "0"
    sample["entry"].append({"resource": again})
    assert errors_in(sample) == {"provenance-current"}
