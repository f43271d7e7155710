"""Which journal entries `watch ID` shows: the message, its answers, and the answers to those."""

from accesspoint.cli.watch import Story


def entry(identifier: str, subject: str) -> dict[str, object]:
    return {"message_identifier": identifier, "subject": subject}


def test_an_answer_to_an_answer_belongs_to_the_story() -> None:
    story = Story("4f")

    assert story.takes(entry("4f-observation", "4f-observation"))
    assert story.takes(entry("sbdh-1", "4f-observation"))
    assert story.takes(entry("fhir-answer", "4f-observation"))
    # The envelope of the FHIR Acknowledgement is acknowledged too, and that names the answer only.
    assert story.takes(entry("sbdh-2", "fhir-answer"))


def test_others_do_not() -> None:
    story = Story("4f")

    assert not story.takes(entry("77-observation", "77-observation"))
    assert not story.takes(entry("sbdh-2", "fhir-answer"))
    assert story.takes(entry("fhir-answer", "4f-observation"))
    assert not story.takes(entry("a-4f", "a-4f"))
