"""`accesspoint ping`: a command that speaks to a partner with the keys and the trust of a node that does not run."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from as4_stage import Partner, Pki, Stage

from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.problems import ExitStatus

from .conftest import Ended

Invoke = Callable[..., Ended]
NOBODY = "https://127.0.0.1:9/as4"


@pytest.mark.parametrize(
    ("expired", "problem", "status"),
    [
        (False, "peer-unreachable", ExitStatus.UNREACHABLE),
        (True, "certificate-expired", ExitStatus.TRUST),
    ],
)
def test_what_keeps_a_partner_from_answering_is_named(
    invoke: Invoke, pki: Pki, tmp_path: Path, expired: bool, problem: str, status: ExitStatus
) -> None:
    end = pki.now + timedelta(hours=-1 if expired else 1)
    issued = pki.certify(
        CLINIC.access_point, not_before=pki.now - timedelta(hours=2), not_after=end
    )
    config = Stage(pki, tmp_path).write_node(
        MUNICIPALITY,
        pki.municipality,
        partners={"clinic": Partner(CLINIC, issued, NOBODY)},
    )
    ended = invoke("ping", "clinic", "--config", config, "--json")
    said = json.loads(ended.out)
    assert (said["answered"], said["problem"]) == (False, problem)
    assert ended.status == status
    words = invoke("ping", "clinic", "--config", config).err
    assert "send its content" not in words


def test_who_is_no_partner_is_not_pinged(invoke: Invoke, pki: Pki, tmp_path: Path) -> None:
    config = Stage(pki, tmp_path).write_node(MUNICIPALITY, pki.municipality, partners={})
    ended = invoke("ping", "clinic", "--config", config)
    assert ended.status == ExitStatus.USAGE
    assert "accesspoint partner probe GLN" in ended.err
