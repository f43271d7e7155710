"""`accesspoint cert request`, `import` and `rotate` of somebody new to them: what is mistyped or out of order changes nothing."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from as4_stage import Pki, Stage
from bundle_parts import bundle_of

from accesspoint.config import load
from accesspoint.demo.scenery import MUNICIPALITY
from keys import rotation
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
