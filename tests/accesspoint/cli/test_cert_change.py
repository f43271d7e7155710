"""`accesspoint cert request`, `import` and `rotate` of somebody new to them: what is mistyped or out of order changes nothing."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from as4_stage import Pki, Stage
from bundle_parts import bundle_of

from accesspoint.certificates import plain
from accesspoint.config import load
from accesspoint.demo.scenery import MUNICIPALITY
from keys import rotation
from keys.certificate import describe
from keys.devca import IssuedCertificate
from keys.roles import Role
from keys.store import KeyStore

from .conftest import Ended

Invoke = Callable[..., Ended]
SUBJECT = ("--common-name", "ap", "--organisation", "Eksempel", "--cvr", "10000009")


@pytest.fixture
def config(pki: Pki, tmp_path: Path) -> Path:
    return Stage(pki, tmp_path).write_node(MUNICIPALITY, pki.municipality, partners={})


@pytest.fixture
def keys(config: Path) -> Path:
    return load(config).keys.directory


@pytest.mark.parametrize(
    "part",
    [("--organisation", "E", "--cvr", "20000008"), ("--uuid", "x"), SUBJECT[:2], SUBJECT[2:], ("--common-name", "", *SUBJECT[2:])],
)  # fmt: skip
def test_a_part_of_a_subject_is_never_left_out_of_a_request_without_a_word(
    invoke: Invoke, config: Path, keys: Path, part: tuple[str, ...]
) -> None:
    ended = invoke("cert", "request", "message", *part, "--config", config)
    assert ended.status == 2
    assert "--common-name, --organisation and the eight digits of --cvr" in " ".join(
        ended.err.split()
    )
    assert not list(keys.glob("*.request.*"))


def test_a_moment_that_is_over_is_no_switch(
    invoke: Invoke, config: Path, keys: Path, pki: Pki
) -> None:
    rotation.import_answer(keys, Role.MESSAGE, bundle_of(pki.certify(MUNICIPALITY.access_point)))
    over = datetime.now(UTC) - timedelta(minutes=20)
    refused = invoke("cert", "rotate", "message", "--at", over.isoformat(), "--config", config)
    assert refused.status == 2
    assert f"{over:%Y-%m-%d %H:%M} UTC, which is over; leave --at out to switch now" in " ".join(
        refused.err.split()
    )
    assert not list(keys.glob("message.next.at"))
    assert KeyStore.load(keys).signing.certificate == pki.municipality.certificate
    soon = (over + timedelta(minutes=19)).isoformat()
    said = invoke("cert", "rotate", "message", "--at", soon, "--config", config)
    assert said.status == 0, said.text
    assert "active: " in said.out


def test_a_moment_without_an_offset_is_of_this_machine_and_told_with_its_zone(
    invoke: Invoke, config: Path, keys: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotation.import_answer(keys, Role.MESSAGE, bundle_of(pki.certify(MUNICIPALITY.access_point)))
    day = f"{pki.now + timedelta(days=70):%Y-%m-%d}"
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "ABC-3")
        time.tzset()
        try:
            said = invoke("cert", "rotate", "message", "--at", f"{day}T06:00", "--config", config)
        finally:
            patch.undo()
            time.tzset()
    assert f"from {day} 03:00 UTC on" in said.out
    assert f"takes over {day}T03:00 UTC" in invoke("cert", "list", "--config", config).out
    help_text = " ".join(invoke("cert", "rotate", "--help").out.split())
    assert "without +01:00 it is the time of this machine" in help_text


def test_a_refusal_with_one_way_out_says_that_one(
    invoke: Invoke, config: Path, keys: Path, pki: Pki, tmp_path: Path
) -> None:
    own, other = (pki.certify(MUNICIPALITY.access_point) for _ in range(2))
    file, pair = tmp_path / "other.pem", tmp_path / "pair.pem"
    file.write_bytes(other.certificate_pem)
    pair.write_bytes(own.key_pem + own.certificate_pem)
    message = ("message", "--config", config)

    def refused(*arguments: str | Path) -> tuple[str, str, str]:
        """What the head, the sentence and the steps say, on one line each."""
        ended = invoke("cert", *arguments)
        assert ended.status == 7, ended.text
        head, *rest = ended.err.splitlines()
        whole = " ".join(" ".join(rest).split())
        said, _, steps = whole.partition(" do: ")
        return head.split()[0], said, steps

    slug, _, steps = refused("import", "message", file, "--config", config)
    assert slug == "answer-without-request"
    assert "accesspoint cert request message " in steps
    slug, _, steps = refused("rotate", *message)
    assert slug == "rotation-without-next"
    assert "accesspoint cert import message FILE" in steps
    slug, _, steps = refused("rotate", *message, "--finish")
    assert (slug, steps[:8]) == ("rotation-without-previous", "nothing;")

    assert invoke("cert", "request", *message).status == 0
    slug, _, steps = refused("request", *message)
    assert slug == "request-waits-already"
    assert steps == "accesspoint cert import message FILE with the answer to it"
    slug, said, steps = refused("import", "message", file, "--config", config)
    assert slug == "certificate-of-another-key"
    assert f"the key that waits, {keys}/message.request.key.pem; the file has that of " in said
    assert plain(describe(other.certificate)) in said
    assert steps.startswith("accesspoint cert import message FILE with the answer to this request")

    assert invoke("cert", "import", "message", pair, "--config", config).status == 0
    slug, _, steps = refused("import", "message", pair, "--config", config)
    assert slug == "next-pair-waits-already"
    assert steps.startswith("accesspoint cert rotate message makes that one active")
    assert invoke("cert", "rotate", *message).status == 0
    since = rotation.switched(keys, Role.MESSAGE)
    assert since is not None
    slug, said, steps = refused("rotate", *message, "--finish")
    assert (slug, steps) == (
        "rotation-finished-too-early",
        f"wait until {since + timedelta(days=2):%Y-%m-%d %H:%M} UTC, then accesspoint cert rotate message --finish",
    )
    assert "--anyway removes it nevertheless" in said
    assert invoke("cert", "import", "message", pair, "--config", config).status == 0
    slug, _, steps = refused("rotate", *message)
    assert slug == "rotation-unfinished"
    assert steps.startswith("accesspoint cert rotate message --finish ")


def test_a_switch_that_the_node_was_first_to_do_is_told_as_done(
    invoke: Invoke, config: Path, keys: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = pki.certify(MUNICIPALITY.access_point)
    rotation.import_answer(keys, Role.MESSAGE, bundle_of(answer))
    schedule = rotation.schedule

    def schedule_and_look(directory: Path, role: Role, at: datetime) -> rotation.Held:
        told = schedule(directory, role, at)
        assert rotation.promote_due(directory, at) == [role]
        return told

    monkeypatch.setattr(rotation, "schedule", schedule_and_look)
    assert (
        f"active: {MUNICIPALITY.access_point}"
        in invoke("cert", "rotate", "message", "--config", config).out
    )


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("list",), 0, "message previous"),
        (("verify", "message", "--offline"), 0, "sign messages and receipts: trusted"),
        (("request", "signing-p256", *SUBJECT), 0, "made a private key"),
        (("rotate", "message"), 7, "there is no next message pair"),
        (("rotate", "message", "--finish"), 7, "the switch was 20"),
    ],
)
def test_each_verb_finishes_a_switch_that_was_cut_short(
    invoke: Invoke,
    config: Path,
    keys: Path,
    pki: Pki,
    arguments: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    answer = pki.certify(MUNICIPALITY.access_point)
    _cut_short(keys, Role.MESSAGE, answer)
    ended = invoke("cert", *arguments, "--config", config)
    assert ended.status == status, ended.text
    assert said in " ".join(ended.text.split())
    assert KeyStore.load(keys).signing.certificate == answer.certificate


def test_an_import_takes_nothing_from_a_switch_that_was_cut_short(
    invoke: Invoke, config: Path, keys: Path, pki: Pki, tmp_path: Path
) -> None:
    second, third = (
        pki.authority.issue_tls_certificate("ap", san=["127.0.0.1"], not_before=pki.now)
        for _ in range(2)
    )
    _cut_short(keys, Role.TLS, second)
    file = tmp_path / "third.pem"
    file.write_bytes(third.key_pem + third.certificate_pem)
    said = invoke("cert", "import", "tls", file, "--config", config)
    assert said.status == 0, said.text
    assert KeyStore.load(keys).tls.certificate == second.certificate
    assert (keys / "tls.next.cert.pem").read_bytes() == third.certificate_pem


def _cut_short(keys: Path, role: Role, answer: IssuedCertificate) -> None:
    """A switch to this pair as a loss of power leaves it: the keys were moved, the certificates not."""
    rotation.import_answer(keys, role, bundle_of(answer))
    rotation.schedule(keys, role, datetime.now(UTC))
    (keys / f"{role}.key.pem").rename(keys / f"{role}.previous.key.pem")
    (keys / f"{role}.next.key.pem").rename(keys / f"{role}.key.pem")


def test_a_request_is_copied_over_nothing_but_a_request(
    invoke: Invoke, config: Path, keys: Path, tmp_path: Path
) -> None:
    out = tmp_path / "important"
    out.write_text("important")
    request = ("cert", "request", "signing-p256", *SUBJECT, "--config", config, "--out", out)
    refused = invoke(*request)
    assert refused.status == 7
    assert "is something else than a request" in " ".join(refused.err.split())
    assert out.read_text() == "important"
    assert not list(keys.glob("*.request.*"))
    for before in (b"", b"-----BEGIN CERTIFICATE REQUEST-----\nMA=="):
        out.write_bytes(before)
        assert invoke(*request).status == 0
        assert out.read_bytes() == (keys / "signing-p256.request.csr.pem").read_bytes()
        (keys / "signing-p256.request.key.pem").unlink()
