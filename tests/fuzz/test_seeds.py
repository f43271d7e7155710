"""Without a fuzzer: genuine documents, what once broke a reader, and a few changes of each, on any machine."""

import random
from pathlib import Path

import pytest
from cpu_time import cpu_time

from tests.fuzz import CRASHES
from tests.fuzz.mutation import mutate
from tests.fuzz.seeds import seeds_of
from tests.fuzz.targets import TARGETS

CRASHED = sorted(path for path in CRASHES.rglob("*") if path.is_file())
CHANGES = 60
CPU_SECONDS = 0.2


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_a_genuine_document(name):
    verdicts = [TARGETS[name].check(seed) for seed in seeds_of(name)]
    if name != "security":  # which no one policy lets pass under all of them
        assert None in verdicts


def test_everything_kept_is_for_a_target():
    assert {path.parent.name for path in CRASHED} <= TARGETS.keys()


@pytest.mark.parametrize("path", CRASHED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_once_broke_a_reader_no_longer_does(path: Path):
    with cpu_time() as spent:
        TARGETS[path.parent.name].check(path.read_bytes())
    assert spent.seconds < CPU_SECONDS


@pytest.mark.parametrize("name", TARGETS)
def test_a_changed_document_gives_a_value_or_the_right_refusal(name):
    target, seeds, chance = TARGETS[name], seeds_of(name), random.Random(name)
    refused = 0
    for _ in range(CHANGES):
        data = chance.choice(seeds)
        changed = mutate(target.kind, data, chance.getrandbits(32))
        if changed is None:
            octets = bytearray(data)
            octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
            changed = bytes(octets)
        refused += target.check(changed) is not None
    assert refused
