"""Whole nodes that hold the keys of both generations of eDelivery AS4, and partners of either."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from as4_generations import NEW, KeySet, key_set
from as4_peer import Client, HttpAnswer
from as4_stage import Node, Partner, Pki, Stage
from as4_wire import Author, Wire
from cryptography.hazmat.primitives.asymmetric import ed25519
from exchange import exchange
from held_ports import free_ports

from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.verification import verify_node
from envelope.pmode import POLICIES, SUITES, Generation, PMode
from envelope.security_header import claimed_algorithm
from envelope.soap import parse_soap
from envelope.verified import ParsedSignal
from envelope.wsse import authenticate_signal
from envelope.xml import scan
from keys.certificate import fingerprint
from keys.devca import system_name

ALGORITHMS = {generation: SUITES[generation].signature_algorithm for generation in Generation}


def partner_file(directory: Path, name: str, *sets: KeySet, old: bytes = b"") -> str:
    path = directory / f"{name}.pem"
    path.write_bytes(b"".join(one.certificates for one in sets) + old)
    return str(path)


@dataclass
class Both:
    """Municipality and clinic, with their key sets by generation."""

    pki: Pki
    stage: Stage
    municipality: dict[Generation, KeySet]
    clinic: dict[Generation, KeySet]

    @classmethod
    def make(cls, pki: Pki, directory: Path) -> "Both":
        def sets(name: str) -> dict[Generation, KeySet]:
            return {generation: key_set(pki, name, generation) for generation in NEW}

        return cls(
            pki,
            Stage(pki, directory),
            sets(MUNICIPALITY.access_point),
            sets(CLINIC.access_point),
        )

    @asynccontextmanager
    async def clinic_node(self, *generations: str) -> AsyncIterator[Node]:
        """The clinic's node; `generations` are what it has agreed with the municipality."""
        certificate = partner_file(
            self.stage.directory,
            "municipality",
            *self.municipality.values(),
            old=self.pki.municipality.certificate_pem,
        )
        settings = {"certificate": certificate, "generations": list(generations)}
        path = self.stage.write_node(
            CLINIC,
            self.pki.clinic,
            partners={
                "municipality": Partner(
                    MUNICIPALITY, self.pki.municipality, "https://127.0.0.1:9/as4", settings
                )
            },
        )
        for one in self.clinic.values():
            one.write(path.parent / "keys")
        async with self.stage.run(path) as node:
            yield node

    def author(self, generation: Generation) -> Author:
        """The municipality as it writes in one generation."""
        if generation is Generation.V1_15:
            return Author(self.pki.municipality.signer(), self.pki.clinic.certificate)
        return Author(
            self.municipality[generation].signing.signer(),
            self.clinic[generation].agreement.certificate,
        )

    def signer_of(self, generation: Generation) -> str:
        """The fingerprint of the clinic's signing certificate."""
        if generation is Generation.V1_15:
            return fingerprint(self.pki.clinic.certificate)
        return fingerprint(self.clinic[generation].signing.certificate)


@pytest.fixture
def both(pki: Pki, tmp_path: Path) -> Both:
    return Both.make(pki, tmp_path)


@pytest.mark.parametrize("generation", NEW, ids=str)
async def test_a_whole_exchange_in_the_newer_generation(both: Both, generation: Generation) -> None:
    """Message, receipts, acknowledgements, and the evidence that is kept, which verifies again."""
    sides = {
        MUNICIPALITY: (both.pki.municipality, both.municipality[generation]),
        CLINIC: (both.pki.clinic, both.clinic[generation]),
    }
    ports = dict(zip(sides, free_ports(2), strict=True))
    files = []
    for organisation, (message, own) in sides.items():
        other = next(one for one in sides if one is not organisation)
        certificate = partner_file(both.stage.directory, other.key, sides[other][1])
        settings = {"certificate": certificate, "generations": [str(generation)]}
        path = both.stage.write_node(
            organisation,
            message,
            listen=f"127.0.0.1:{ports[organisation]}",
            acknowledging={"fhir": "automatic"},
            partners={
                other.key: Partner(
                    other, sides[other][0], f"https://127.0.0.1:{ports[other]}/as4", settings
                )
            },
        )
        own.write(path.parent / "keys")
        files.append(path)
    async with both.stage.run(files[0]) as municipality, both.stage.run(files[1]) as clinic:
        identifier, _ = await exchange(municipality, clinic)
        assert municipality.outcomes() == {identifier: "ACKNOWLEDGED"}
        for node, own in ((municipality, both.municipality), (clinic, both.clinic)):
            rows = await node.rows("SELECT algorithm, signer FROM signatures")
            assert {row["algorithm"] for row in rows} == {ALGORITHMS[generation]}
            for row in await node.rows("SELECT signed_references, soap FROM wires"):
                document = parse_soap(scan(bytes(row["soap"])))
                assert claimed_algorithm(document) == ALGORITHMS[generation]
            assert (await node.counts())["refusals"] == 0
            signers = await node.rows(
                "SELECT r.signer, m.direction FROM receipts AS r JOIN messages AS m ON m.id = r.message"
            )
            other = both.clinic if own is both.municipality else both.municipality
            assert {(row["direction"], row["signer"]) for row in signers} == {
                ("in", fingerprint(own[generation].signing.certificate)),
                ("out", fingerprint(other[generation].signing.certificate)),
            }
            report = await verify_node(node.point.configuration)
            assert report.held, report.findings


def signed_in(answer: HttpAnswer) -> str | None:
    document, _ = answer.signal()
    return claimed_algorithm(document)


async def post(both: Both, node: Node, wire: Wire) -> HttpAnswer:
    tls, _ = both.pki.tls_contexts("municipality")
    async with Client.connect(node.url, tls) as client:
        return await client.post(wire)


async def delivered(node: Node, count: int) -> None:
    """Wait until so many messages are with the backend; their acknowledgements lead nowhere on this stage."""

    async def arrived() -> bool:
        states = "SELECT COUNT(*) AS n FROM messages WHERE direction = 'in' AND state = 'DELIVERED'"
        [row] = await node.rows(states)
        return bool(row["n"] == count)

    await node.until(arrived, f"{count} messages delivered")


async def refusals(node: Node) -> list[tuple[Any, Any, Any]]:
    rows = await node.rows("SELECT gate, reason, code FROM refusals")
    return [(row["gate"], row["reason"], row["code"]) for row in rows]


async def test_one_node_serves_a_partner_that_speaks_all_of_them(both: Both) -> None:
    """While a partner migrates both generations are agreed: each answer is in the one of its message."""
    async with both.clinic_node("2.0", "1.15", "2.0-p256") as node:
        for generation in Generation:
            author, suite = both.author(generation), SUITES[generation]
            wire = author.compose(suite=suite)
            answer = await post(both, node, wire)
            assert signed_in(answer) == ALGORITHMS[generation]
            document, signal = answer.signal()
            assert signal.receipt is not None
            row = await node.message(wire.message_id)
            [receipt] = await node.rows("SELECT signer FROM receipts WHERE message = $1", row["id"])
            assert receipt["signer"] == both.signer_of(generation)
            again = await post(both, node, wire)
            assert again.body == answer.body
            # An error that answers it is signed in the same generation.
            stray = author.compose(suite=suite, header=to_nobody)
            refused = await post(both, node, stray)
            assert signed_in(refused) == ALGORITHMS[generation]
            _, signal = refused.signal()
            assert signal.errors
            for signed in (document, refused.signal()[0]):
                authenticated = authenticate_signal(
                    ParsedSignal.read(signed),
                    policy=POLICIES[generation],
                    check=Anybody(),
                    party=None,
                )
                assert authenticated.fingerprint == both.signer_of(generation)
        await delivered(node, len(Generation))


class Anybody:
    """Trusts whoever signed: whose certificate it is was compared by its fingerprint."""

    def find(self, reference: Any) -> None:
        return None

    def check(self, certificate: Any, chain: Any, *, party: Any) -> str:
        return "anybody"


def to_nobody(header: Any) -> Any:
    return replace(header, receiver=replace(header.receiver, value="0088:5790000000036"))


@pytest.mark.parametrize("agreed", Generation, ids=str)
async def test_a_partner_is_refused_the_generations_that_are_not_agreed(
    both: Both, agreed: Generation
) -> None:
    """No downgrade, and no upgrade either: certificates that we would trust do not replace an agreement."""
    async with both.clinic_node(str(agreed)) as node:
        for generation in Generation:
            wire = both.author(generation).compose(suite=SUITES[generation])
            answer = await post(both, node, wire)
            if generation is agreed:
                assert signed_in(answer) == ALGORITHMS[agreed]
                continue
            assert signed_in(answer) is None
            _, signal = answer.signal()
            assert [error.code for error in signal.errors] == ["EBMS:0103"]
        others = len(Generation) - 1
        assert await refusals(node) == [("G5", "alg.signature", "EBMS:0103")] * others
        await delivered(node, 1)


async def test_a_downgrade_would_be_seen(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """The case above goes red when the signature alone chooses the policy, whatever is agreed."""

    def unbound(mode: PMode, algorithm: str | None) -> PMode:
        return next(mode.under(one) for one, name in ALGORITHMS.items() if name == algorithm)

    monkeypatch.setattr(PMode, "spoken_by", unbound)
    with pytest.raises(AssertionError):
        await test_a_partner_is_refused_the_generations_that_are_not_agreed(both, Generation.V2_0)


async def test_a_node_that_has_agreed_to_all_takes_none_of_their_mixtures(
    both: Both,
) -> None:
    """Mixed generations at a node that has agreed to all: the signature of one, the encryption of another."""
    async with both.clinic_node("2.0", "1.15", "2.0-p256") as node:
        for signs in Generation:
            for encrypts in Generation:
                if signs is encrypts:
                    continue
                author = replace(both.author(signs), recipient=both.author(encrypts).recipient)
                suite = replace(SUITES[signs], key_transport=SUITES[encrypts].key_transport)
                await post(both, node, author.compose(suite=suite))
        assert set(await refusals(node)) == {("G5", "alg.transport", "EBMS:0103")}
        assert len(await refusals(node)) == 6
        assert await node.rows("SELECT * FROM messages") == []


@pytest.mark.parametrize("fault", ["usage", "party"])
async def test_a_good_key_whose_certificate_is_for_something_else_signs_nothing(
    both: Both, pki: Pki, fault: str
) -> None:
    """An Ed25519 key of the right name that was certified to agree on keys, and one of another party."""
    key = ed25519.Ed25519PrivateKey.generate()
    own = both.municipality[Generation.V2_0].signing.certificate
    issued = pki.authority.issue(
        own.subject if fault == "usage" else system_name("someone-ap", "x", "10000009", "1"),
        key,
        not_before=pki.now - timedelta(hours=1),
        not_after=pki.now + timedelta(days=9),
        extensions=pki.authority.system_extensions(key, agrees=fault == "usage"),
    )
    async with both.clinic_node("2.0") as node:
        author = Author(issued.signer(), both.clinic[Generation.V2_0].agreement.certificate)
        answer = await post(both, node, author.compose(suite=SUITES[Generation.V2_0]))
        _, signal = answer.signal()
        assert [error.code for error in signal.errors] == ["EBMS:0101"]
        assert await refusals(node) == [("G6", f"cert.{fault}", "EBMS:0101")]
        assert await node.rows("SELECT * FROM messages") == []
