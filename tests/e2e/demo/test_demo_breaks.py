"""Every step of the demo can be broken, and the demo then names what broke, whose it is, and ends with its number."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from command_line import Command, Home

# All the breaks that are asked for are played in the set-up of the first test.
pytestmark = pytest.mark.timeout(400)
AT_ONCE = 3
PATIENCE = {"no-fhir-acknowledgement": ("--timeout", "6")}
"""Where nothing ever comes, the demo is told to wait no longer than this."""

CULPRITS = {
    "locator-silent": (5, "lookup-unreachable", "network"),
    "participant-unregistered": (1, "lookup-no-participant", "theirs"),
    "smp-signature": (7, "smp-signature", "theirs"),
    "document-missing": (1, "lookup-no-endpoint", "theirs"),
    "wrong-certificate": (4, "peer-refused-decryption", "theirs"),
    "receiver-down": (5, "peer-unreachable", "network"),
    "receiver-revoked": (7, "certificate-revoked", "theirs"),
    "sender-revoked": (4, "peer-refused-signature", "ours"),
    "message-invalid": (1, "message-invalid", "ours"),
    "no-fhir-acknowledgement": (6, "fhir-acknowledgement-missing", "theirs"),
    "token-refused": (7, "token-refused", "ours"),
    "status-down": (5, "status-unreachable", "network"),
    "status-refuses": (4, "status-refused", "ours"),
}
"""What was broken: the exit status, the problem, and whose it is."""
SEEN = {
    "locator-silent": "no answer from the name server of sml.ehmi.test",
    "participant-unregistered": "0088:5790000000029 has no record in the zone sml.ehmi.test",
    "smp-signature": "the publisher is not trusted: cert.untrusted",
    "document-missing": "the publisher does not know the participant with this document",
    "wrong-certificate": "refused the message: EBMS:0102 FailedDecryption (the answer is unsigned).",
    "receiver-down": "Connection refused",
    "receiver-revoked": "cert.revoked: revoked at ",
    "sender-revoked": "refused the message: EBMS:0101 FailedAuthentication (the answer is unsigned).",
    "message-invalid": "hco-report-status",
    "token-refused": "status 401, error invalid_client",
    "status-refuses": "status 422, AuditEvent",
}
"""The detail, where there is one."""
HEAD = re.compile(r"^(?:EBMS:\d{4} · )?([a-z-]+) {2,}(ours|theirs|network|unknown)$", re.MULTILINE)
ARRIVES = {"no-fhir-acknowledgement", "token-refused", "status-down", "status-refuses"}
"""Broken beside the message's way: it still arrives."""

ALWAYS = {
    "message-invalid",
    "wrong-certificate",
    "receiver-down",
    "no-fhir-acknowledgement",
    "receiver-revoked",
}
"""One for every exit status, played in every run; the others are alike and take a minute together."""
STEPS = [
    step if step in ALWAYS else pytest.param(step, marks=pytest.mark.slow) for step in CULPRITS
]


@pytest.fixture(scope="module")
def broken(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[int, Command]]]:
    """Every break that a test of this run asks for, played; a few at a time."""
    asked = {
        item.callspec.params["step"]
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    }
    homes = {step: Home(tmp_path_factory.mktemp(step)) for step in CULPRITS if step in asked}
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            played = pool.map(
                lambda step: homes[step].run("demo", "--break", step, *PATIENCE.get(step, ())),
                homes,
            )
            yield dict(zip(homes, played, strict=True))
        assert {step: home.processes() for step, home in homes.items() if home.processes()} == {}
        assert [path for home in homes.values() for path in home.temporary.iterdir()] == []
    finally:
        for home in homes.values():
            home.leave()


def test_the_list_of_breaks_is_the_one_tested_here(tmp_path):
    home = Home(tmp_path / "list")
    status, command = home.run("demo", "--list-breaks")
    assert status == 0
    assert [line.split()[0] for line in command.out.splitlines()] == list(CULPRITS)


@pytest.mark.parametrize("step", STEPS)
def test_a_broken_step_ends_with_its_problem(broken, step):
    status, command = broken[step]
    expected, slug, whose = CULPRITS[step]
    heads = HEAD.findall(command.out)
    assert heads == [(slug, whose)], command.out
    assert status == expected
    assert "every step held" not in command.out
    assert SEEN.get(step, "") in command.out
    assert re.search(r"^  do: .", command.out, re.MULTILINE)
    assert command.err == ""


@pytest.mark.parametrize("step", STEPS)
def test_the_checks_say_how_far_the_message_came(broken, step):
    _, command = broken[step]
    if step == "message-invalid":
        assert "✗ EUA  refused before sending: hco-report-status" in command.out
        assert "AS4:" not in command.out
        return
    arrives = step in ARRIVES
    receipt, content = ("✓", "✓") if arrives else ("✗", "–")
    assert f"{receipt} AS4: the sender holds a verified non-repudiation receipt" in command.out
    assert f"{content} EUA: the receiver's backend has the message byte for byte" in command.out
    assert "✗" in command.out
    if not arrives:
        assert "✓ EDS: every event says success" not in command.out
        assert " of 16 delivery events: the message stopped at the AP of " in command.out
        # What is advised at the end, after the timeline.
        assert "it is tried again" not in command.out.rpartition("\n\n")[2]
    if "lookup-no" in CULPRITS[step][1]:
        assert "not sent; trying again would not help (" in command.out
        assert "given up" not in command.out
