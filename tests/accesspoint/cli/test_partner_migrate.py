"""`accesspoint partner migrate --dry-run`: what is missing before a partner moves, whose it is, and nothing sent."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from as4_generations import NEW, key_set, key_set_of
from as4_parts import trust_in
from as4_stage import Partner, Pki, Stage

from accesspoint.clock import ManualClock, SystemClock
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.discovery.static import StaticDirectory, StaticPartner
from accesspoint.identity import Identity
from accesspoint.ids import SystemIds
from accesspoint.rehearsal import Rehearsal, Step
from envelope.names import TRANSPORT_AS4_V2
from envelope.pmode import DOMIBUS_LIKE, Generation
from envelope.sbdh_values import PARTICIPANT_PREFIX
from keys.certificate import der
from keys.store import KeyStore

from .conftest import Ended

Invoke = Callable[..., Ended]
URL = "https://127.0.0.1:9/as4"


def write(pki: Pki, directory: Path, *, ours: bool, theirs: bytes, **settings: Any) -> Path:
    """A node whose partner shows `theirs`; `ours` says whether we hold keys of the newer generations."""
    file = directory / "theirs.pem"
    file.write_bytes(pki.clinic.certificate_pem + theirs)
    partner = Partner(CLINIC, pki.clinic, URL, {"certificate": str(file), **settings})
    path = Stage(pki, directory).write_node(
        MUNICIPALITY, pki.municipality, partners={"clinic": partner}
    )
    if ours:
        for generation in NEW:
            key_set(pki, MUNICIPALITY.access_point, generation).write(path.parent / "keys")
    return path


def missing(ended: Ended, generation: Generation) -> dict[str, str]:
    """What does not hold in one generation, with whose it is."""
    said = json.loads(ended.out)
    assert said["sent"] == 0
    return {
        step["step"]: step["whose"]
        for step in said["steps"]
        if not step["held"] and step["generation"] == generation
    }


def migrate(invoke: Invoke, config: Path, *arguments: str) -> Ended:
    return invoke(
        "partner", "migrate", "clinic", "--dry-run", "--config", config, "--format", "json", *arguments
    )  # fmt: skip


def test_what_is_missing_is_told_with_whose_it_is(invoke: Invoke, pki: Pki, tmp_path: Path) -> None:
    config = write(pki, tmp_path, ours=False, theirs=b"")
    ended = migrate(invoke, config)
    assert ended.status == 1
    assert missing(ended, Generation.V1_15) == {}
    assert missing(ended, Generation.V2_0) == {
        "our keys": "ours", "their key": "theirs", "their signer": "theirs", "agreement": "agreement",
    }  # fmt: skip
    told = invoke("partner", "migrate", "clinic", "--dry-run", "--config", config)
    assert "not ready: something is missing that is ours and theirs" in told.out
    assert "signing-ed25519" not in told.err


@pytest.mark.parametrize("generation", NEW, ids=str)
def test_all_that_is_left_is_the_agreement(
    invoke: Invoke, pki: Pki, tmp_path: Path, generation: Generation
) -> None:
    """The set of algorithms follows from the key that the partner shows."""
    theirs = key_set(pki, CLINIC.access_point, generation)
    config = write(pki, tmp_path, ours=True, theirs=theirs.certificates)
    ended = migrate(invoke, config)
    assert ended.status == 0, ended.out
    assert json.loads(ended.out)["to"] == generation
    assert missing(ended, generation) == {"agreement": "agreement"}
    assert missing(ended, Generation.V1_15) == {}
    told = invoke("partner", "migrate", "clinic", "--dry-run", "--config", config)
    assert "ready: only the partner's table is left to change" in told.out
    assert f'generations = ["{generation}", "1.15"]' in told.out


def test_a_partner_that_has_moved_holds_in_every_step(
    invoke: Invoke, pki: Pki, tmp_path: Path
) -> None:
    theirs = key_set(pki, CLINIC.access_point, Generation.V2_0)
    both = ["2.0", "1.15"]
    config = write(pki, tmp_path, ours=True, theirs=theirs.certificates, generations=both)
    ended = migrate(invoke, config)
    assert ended.status == 0
    assert missing(ended, Generation.V2_0) == missing(ended, Generation.V1_15) == {}


def test_their_certificates_must_be_trusted_and_good(
    invoke: Invoke, pki: Pki, tmp_path: Path
) -> None:
    at = pki.now - timedelta(days=900)
    for authority, validity in (
        (pki.untrusted_authority, {"not_before": pki.now}),
        (pki.authority, {"not_before": at, "not_after": at + timedelta(days=30)}),
    ):
        theirs = key_set_of(authority, CLINIC.access_point, Generation.V2_0, **validity)
        config = write(pki, tmp_path, ours=False, theirs=theirs.certificates)
        ended = migrate(invoke, config, "--to", "2.0")
        assert ended.status == 1
        whose = missing(ended, Generation.V2_0)
        assert (whose["their key"], whose["their signer"]) == ("theirs", "theirs")


def test_only_the_dry_run_exists(invoke: Invoke, pki: Pki, tmp_path: Path) -> None:
    config = write(pki, tmp_path, ours=False, theirs=b"")
    ended = invoke("partner", "migrate", "clinic", "--config", config)
    assert (ended.status, ended.out) == (2, "")
    assert "generations = [...]" in ended.err
    assert invoke("partner", "migrate", "nobody", "--config", config).status == 1


async def steps(
    pki: Pki, tmp_path: Path, *, profile: str | None, gln: str = CLINIC.address.gln
) -> dict[str, Step]:
    """The steps for 2.0 with a partner that only a directory knows, with this transport profile or not at all."""
    config = write(pki, tmp_path, ours=True, theirs=b"")
    keystore = KeyStore.load(config.parent / "keys")
    theirs = key_set(pki, CLINIC.access_point, Generation.V2_0)
    partners = (
        []
        if profile is None
        else [StaticPartner("clinic", gln, URL, der(theirs.agreement.certificate), profile)]
    )
    clock = ManualClock(pki.now)
    rehearsal = Rehearsal(
        party=CLINIC.access_point,
        mode=DOMIBUS_LIKE,
        configured=(),
        keystore=keystore,
        identity=Identity.of(keystore, MUNICIPALITY.access_point),
        trust=trust_in(pki, clock),
        clock=clock,
        ids=SystemIds(SystemClock()),
    )
    asked = (f"{PARTICIPANT_PREFIX}{CLINIC.address.gln}", "urn:example:document", "urn:example")
    found = await rehearsal.steps(Generation.V2_0, directory=StaticDirectory(partners), asked=asked)
    return {step.what: step for step in found}


async def test_the_directory_shows_endpoint_and_key(pki: Pki, tmp_path: Path) -> None:
    found = await steps(pki, tmp_path, profile=TRANSPORT_AS4_V2)
    assert [what for what, step in found.items() if not step.held] == ["agreement"]
    assert TRANSPORT_AS4_V2 in found["endpoint"].detail
    assert CLINIC.access_point in found["their signer"].detail


async def test_an_endpoint_that_is_not_published_is_theirs(pki: Pki, tmp_path: Path) -> None:
    found = await steps(pki, tmp_path, profile=None)
    assert {what: step.whose for what, step in found.items() if not step.held} == {
        "endpoint": "theirs", "their key": "theirs", "agreement": "agreement"
    }  # fmt: skip
    assert found["towards us"].held
