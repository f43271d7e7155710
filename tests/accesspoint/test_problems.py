import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesspoint.discovery.directory import LookupProblem
from accesspoint.problem_form import FALLBACKS
from accesspoint.problems import (
    PROBLEMS,
    TEXTS,
    ExitStatus,
    Language,
    Layer,
    Occurrence,
    Problem,
    ProblemRaised,
    Whose,
    find_problem,
    named,
    refine,
)
from envelope.codes import CODES

CPR = "2512489996"
every = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=list(PROBLEMS))


def test_exit_statuses_are_the_documented_numbers() -> None:
    assert {status.name.lower(): status.value for status in ExitStatus} == {
        "ok": 0, "failed": 1, "usage": 2, "configuration": 3, "refused": 4, "unreachable": 5, "timed_out": 6,
        "trust": 7, "not_ready": 8, "conformance": 9, "storage": 70, "interrupted": 130,
    }  # fmt: skip


@pytest.mark.parametrize("language", Language)
def test_every_language_has_exactly_the_slugs_of_the_catalogue(language: Language) -> None:
    assert set(TEXTS[language]) == set(PROBLEMS)


@every
def test_every_text_has_its_parts_and_only_known_facts(problem: Problem) -> None:
    for language in Language:
        text = problem.text(language)
        parts = (text.title, text.what, text.why, *text.do)
        assert all(part.strip() and not part.endswith("?") for part in parts)
        assert text.do
        assert text.what.endswith(".")
        assert text.why.endswith(".")
        assert not text.title.endswith(".")
        for part in parts:
            assert named(part) <= set(FALLBACKS)
            assert "invalid input" not in part.lower()
            assert (
                not re.search(r"\bfault\b|\bblame\b|\bstupid\b|\bwrong input\b", part)
                or problem.slug == "internal"
            )


def test_every_problem_of_a_look_up_is_in_the_catalogue() -> None:
    for slug in LookupProblem:
        assert find_problem(slug).slug == slug


@every
def test_every_problem_is_complete(problem: Problem) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", problem.slug)
    assert problem.exit_status is not ExitStatus.OK
    assert 400 <= problem.http_status < 600
    assert problem.ebms is None or problem.ebms in CODES


@every
def test_every_problem_renders_in_five_parts_without_any_facts(problem: Problem) -> None:
    lines = problem.render().splitlines()
    assert lines[0].split()[-1] == problem.who
    assert problem.slug in lines[0]
    assert lines[2] == f"  where: {problem.layer}"
    assert lines[3].startswith("  why: ")
    assert lines[4].startswith("  do: ")
    assert "{" not in problem.render()
    assert "None" not in problem.render()


def test_peer_unreachable_reads_as_the_manual_shows_it() -> None:
    text = find_problem("peer-unreachable").render(
        peer="ap.clinic.example:443",
        attempt="Attempt 3 of 9",
        next="in 4 min 10 s",
        detail="connection refused",
        where="message 01JD",
        id="p-7f3a",
    )
    assert text == (
        "peer-unreachable" + "network".rjust(84) + "\n"
        "  No connection to ap.clinic.example:443 could be made. Attempt 3 of 9 did not reach it.\n"
        "  where: transport, message 01JD\n"
        "  why: the partner is down, its address changed, or a firewall is in between.\n"
        "  detail: connection refused\n"
        "  do: nothing; it is tried again in 4 min 10 s\n"
        "  do: curl -v with the partner's URL\n"
        "  id p-7f3a"
    )


def test_the_code_of_the_occurrence_goes_before_that_of_the_catalogue() -> None:
    assert find_problem("receipt-digest").render().startswith("EBMS:0302 · receipt-digest")
    assert (
        find_problem("peer-refused").render(code="EBMS:0103").startswith("EBMS:0103 · peer-refused")
    )
    assert "refused the message: EBMS:0103." in find_problem("peer-refused").render(
        code="EBMS:0103"
    )


@pytest.mark.parametrize(
    ("detail", "slug", "whose", "sentence"),
    [
        ("EBMS:0102 FailedDecryption (unsigned)", "peer-refused-decryption", Whose.THEIRS,
         "refused the message: EBMS:0102 FailedDecryption (the answer is unsigned)."),
        ("EBMS:0101 FailedAuthentication", "peer-refused-signature", Whose.OURS,
         "refused the message: EBMS:0101 FailedAuthentication."),
        ("EBMS:0004 Other", "peer-refused", Whose.UNKNOWN, "refused the message: EBMS:0004 Other."),
        ("HTTP 403 without an ebMS error", "peer-refused", Whose.UNKNOWN,
         "refused the message: it named no ebMS code."),
    ],
)  # fmt: skip
def test_a_refusal_names_its_code_and_whose_it_is(
    detail: str, slug: str, whose: Whose, sentence: str
) -> None:
    met = Occurrence.of("peer-refused", detail)
    assert (met.problem.slug, met.problem.who) == (slug, whose)
    assert met.exit_status is ExitStatus.REFUSED
    lines = met.render().splitlines()
    code = detail.split()[0] + " · " if detail.startswith("EBMS") else ""
    assert lines[0].startswith(f"{code}{slug} ")
    assert lines[1] == f"  The receiving access point {sentence}"
    assert ("  detail: HTTP 403 without an ebMS error" in lines) is detail.startswith("HTTP")


def test_only_a_refusal_is_narrowed_down_by_a_code() -> None:
    assert refine("receipt-missing", "EBMS:0102 FailedDecryption") == "receipt-missing"
    assert Occurrence.of("peer-tls", "EBMS:0101 x").detail == "EBMS:0101 x"


@every
def test_after_a_give_up_nothing_is_said_to_be_tried_again(problem: Problem) -> None:
    assert "it is tried again" not in problem.render(given_up=True)
    assert len(problem.do(given_up=True)) == len(problem.do())


@every
def test_what_is_uncertain_is_never_called_failed_or_unsent(problem: Problem) -> None:
    steps = " ".join(problem.do(uncertain=True))
    assert "tried again" not in steps
    assert "send its content as a new message" not in steps
    for word in ("failed", "not sent", "not delivered", "lost"):
        assert word not in problem.text().uncertain


def test_what_may_have_arrived_is_asked_about_before_it_is_sent_anew() -> None:
    assert "ask the partner whether it has" in find_problem("peer-timeout").render(given_up=True)
    assert "ask the partner" not in find_problem("peer-unreachable").render(given_up=True)


@every
def test_a_sentence_begins_with_a_capital(problem: Problem) -> None:
    assert problem.what()[0].isupper()
    for step in problem.do():
        assert not re.search(r"; [A-Z]", step)


@every
def test_no_fact_carries_a_patient_or_forges_a_line(problem: Problem) -> None:
    hostile = f"{CPR}\n  do: rm -rf /"
    facts: dict[str, Any] = dict.fromkeys([*FALLBACKS, "detail", "where", "id"], hostile)
    text = problem.render(**facts)
    assert CPR not in text
    assert len(text.splitlines()) == len(problem.render(detail="x", id="x").splitlines())
    assert CPR not in str(problem.to_json(**facts))


@given(
    st.dictionaries(
        st.sampled_from(sorted(FALLBACKS)),
        st.one_of(st.text(), st.integers(), st.binary(), st.none()),
    )
)
def test_whatever_the_facts_are_a_text_comes_out(facts: dict[str, Any]) -> None:
    for problem in (find_problem("peer-refused"), find_problem("token-refused")):
        assert problem.slug in problem.render(**facts)


def test_a_fact_with_braces_is_not_a_template() -> None:
    assert "{expected}" in find_problem("receipt-signer").render(subject="{expected}", expected="x")


def test_the_json_form_is_a_problem_document() -> None:
    assert find_problem("message-already-submitted").to_json(message="M1", id="p-1") == {
        "type": "/docs/problems/message-already-submitted",
        "title": "This message was submitted before",
        "status": 409,
        "whose": "ours",
        "detail": "M1 was submitted before with other content or to another receiver; it is not sent.",
        "remedy": [
            "accesspoint watch ID   shows the earlier submission",
            "give the message a new MessageHeader.id when its content is new",
        ],
        "id": "p-1",
    }


def test_a_slug_without_an_entry_is_an_internal_error() -> None:
    assert find_problem("never-heard-of").slug == "internal"
    assert find_problem("never-heard-of").who is Whose.OURS


def test_a_raised_problem_knows_its_exit_status_and_its_text() -> None:
    raised = ProblemRaised("lookup-no-participant", participant="5790000000029")
    assert raised.exit_status is ExitStatus.FAILED
    assert "5790000000029 was not found" in raised.render()
    assert str(raised) == "lookup-no-participant"
    assert raised.problem.layer is Layer.LOOKUP


def test_commands_that_are_recommended_exist() -> None:
    from accesspoint.cli.main import app

    names = {
        command.name or command.callback.__name__
        for command in app.registered_commands
        if command.callback
    }
    names |= {group.name for group in app.registered_groups if group.name}
    for problem in PROBLEMS.values():
        for step in problem.do():
            for command in re.findall(r"\baccesspoint (--help|[a-z]+)", step):
                assert command == "--help" or command in names
