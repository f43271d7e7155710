"""Puts the demo on: its surroundings in this process, the nodes as processes of their own, everything registered.

What can be broken on purpose is a table: each entry breaks one step by other people's doing (the network, a
revoked certificate, a receiver that is not there), never by a switch inside the access point.
"""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from accesspoint.clock import Clock
from accesspoint.config import Acknowledge
from accesspoint.demo.processes import NodeProcess
from accesspoint.demo.register import DocumentRegister
from accesspoint.demo.scenery import (
    CLINIC,
    MUNICIPALITY,
    ORGANISATIONS,
    NodePlan,
    Scenery,
    plan_nodes,
    plan_register,
)
from accesspoint.demo.surroundings import Surroundings
from accesspoint.ids import Ids
from accesspoint.network.faults import Fault
from accesspoint.network.listening import LOOPBACK
from envelope.pmode import Generation
from keys.store import load_certificate_files

PATIENT: Final = "24 h"
IMPATIENT: Final = "3 s"


class Break(StrEnum):
    """A step that can be broken, by the word of the command line."""

    LOCATOR_SILENT = "locator-silent"
    PARTICIPANT_UNREGISTERED = "participant-unregistered"
    SMP_SIGNATURE = "smp-signature"
    DOCUMENT_MISSING = "document-missing"
    WRONG_CERTIFICATE = "wrong-certificate"
    RECEIVER_DOWN = "receiver-down"
    RECEIVER_REVOKED = "receiver-revoked"
    SENDER_REVOKED = "sender-revoked"
    MESSAGE_INVALID = "message-invalid"
    NO_FHIR_ACKNOWLEDGEMENT = "no-fhir-acknowledgement"
    TOKEN_REFUSED = "token-refused"  # noqa: S105 - a word
    STATUS_DOWN = "status-down"
    STATUS_REFUSES = "status-refuses"


BREAKS: Final[Mapping[Break, str]] = {
    Break.LOCATOR_SILENT: "the SML does not answer",
    Break.PARTICIPANT_UNREGISTERED: "the SML does not know the clinic",
    Break.SMP_SIGNATURE: "the SMP answer is signed by a stranger",
    Break.DOCUMENT_MISSING: "the SMP does not offer this document type",
    Break.WRONG_CERTIFICATE: "the SMP publishes somebody else's certificate",
    Break.RECEIVER_DOWN: "the clinic's access point is not running",
    Break.RECEIVER_REVOKED: "the clinic's certificate is revoked",
    Break.SENDER_REVOKED: "the municipality's certificate is revoked",
    Break.MESSAGE_INVALID: "the message breaks a MedCom rule",
    Break.NO_FHIR_ACKNOWLEDGEMENT: "the clinic never answers with a FHIR Acknowledgement",
    Break.TOKEN_REFUSED: "the authorization server refuses every token",
    Break.STATUS_DOWN: "the status component is down",
    Break.STATUS_REFUSES: "the status component refuses every event",
}
_FAULTS: Final = {
    Break.LOCATOR_SILENT: Fault.LOCATOR_SILENT,
    Break.PARTICIPANT_UNREGISTERED: Fault.PARTICIPANT_UNREGISTERED,
    Break.SMP_SIGNATURE: Fault.METADATA_UNSIGNED,
    Break.DOCUMENT_MISSING: Fault.DOCUMENT_MISSING,
    Break.WRONG_CERTIFICATE: Fault.WRONG_CERTIFICATE,
    Break.TOKEN_REFUSED: Fault.TOKEN_REFUSED,
    Break.STATUS_DOWN: Fault.STATUS_DOWN,
    Break.STATUS_REFUSES: Fault.STATUS_REFUSES,
}
_REVOKED: Final = {Break.RECEIVER_REVOKED: CLINIC, Break.SENDER_REVOKED: MUNICIPALITY}


@dataclass(frozen=True, slots=True)
class Node:
    """A running node and the plan it was made from."""

    plan: NodePlan
    process: NodeProcess


class Stage:
    """One network on this machine; everything it starts is gone when it is left."""

    def __init__(
        self,
        base: Path,
        *,
        apart: bool,
        clock: Clock,
        ids: Ids,
        broken: Break | None = None,
        keep_data: bool = False,
        generation: Generation = Generation.V1_15,
        share: bool = False,
        acknowledge: Acknowledge = "automatic",
    ) -> None:
        """`share` puts the document register on the stage, and lets the others send it copies.

        `acknowledge` says who answers the messages that arrive: the node by itself, or a person.
        """
        self._acknowledge = acknowledge
        self.base = base
        self.plans = plan_nodes(base, apart=apart, generation=generation)
        self.register: DocumentRegister | None = None
        self._share = plan_register(base, generation=generation) if share else None
        self.nodes: list[Node] = []
        self._clock = clock
        self._ids = ids
        self.broken = broken
        self._keep_data = keep_data
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._put_on()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def of(self, key: str, station: str) -> Node:
        """The node of an organisation that runs a station."""
        return next(
            n for n in self.nodes if n.plan.organisation.key == key and station in n.plan.stations
        )

    async def _put_on(self) -> None:
        around = await Surroundings.start(
            self.base,
            [*self.plans, *([self._share] if self._share else [])],
            self._stack,
            clock=self._clock,
            ids=self._ids,
            keep_reports=self._keep_data,
            faults={_FAULTS[self.broken]} if self.broken in _FAULTS else set(),
        )
        self.network = around.network
        self._revoke(around.scenery)
        # Nodes say where they listen when they run, and what an earlier start left waiting goes out at once then.
        with around.network.registering():
            if self._share is not None:
                self.register = await DocumentRegister.start(
                    around, self._share, self._stack, clock=self._clock, ids=self._ids
                )
            await self._start_nodes(around)
            around.register(
                {o.key: self.of(o.key, "AP").process.addresses.as4 for o in ORGANISATIONS}
            )
        around.follow_keys(self._stack)

    def _revoke(self, scenery: Scenery) -> None:
        if self.broken not in _REVOKED:
            return
        revoked = _REVOKED[self.broken]
        for plan in self.plans:
            if plan.organisation is revoked and "AP" in plan.stations:
                for file in {plan.signing_certificate, plan.published_certificate}:
                    certificate = load_certificate_files([file])[0]
                    scenery.authority.revoke(certificate, at=self._clock.now())

    async def _start_nodes(self, around: Surroundings) -> None:
        """Write the configuration of every node, then start them all at once."""
        network = around.addresses()
        ports = _station_ports(self.plans)
        for plan in self.plans:
            neighbours = [
                p for p in self.plans if p.organisation is plan.organisation and p is not plan
            ]
            around.scenery.write_config(
                plan,
                network=network,
                listen={"as4": "127.0.0.1:0", "api": "127.0.0.1:0", **ports[plan.name]},
                links=_links(plan, neighbours, ports),
                give_up_after=PATIENT if self.broken is None else IMPATIENT,
                acknowledge="off"
                if self.broken is Break.NO_FHIR_ACKNOWLEDGEMENT and plan.organisation is CLINIC
                else self._acknowledge,
                share=self._share is not None,
            )
        self.nodes = [Node(plan, NodeProcess(plan.name, plan.config)) for plan in self.plans]
        for node in self.nodes:
            self._stack.push_async_callback(node.process.stop)
        # When one does not start, none of the others is left starting.
        async with asyncio.TaskGroup() as group:
            for node in self.nodes:
                group.create_task(node.process.start())
        if self.broken is Break.RECEIVER_DOWN:
            # Its address stays registered: that is how an access point that is down looks to the others.
            await self.of(CLINIC.key, "AP").process.stop()


def reserve_ports(count: int) -> list[int]:
    """Ports that are free now, for who must be known by address before it starts."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _station_ports(plans: list[NodePlan]) -> dict[str, dict[str, str]]:
    """Where stations that stand apart listen for each other, by the name of the node."""
    apart = [plan.name for plan in plans if len(plan.stations) < 3]
    ports = dict(zip(apart, reserve_ports(len(apart)), strict=True))
    return {
        plan.name: {"stations": f"{LOOPBACK}:{ports[plan.name]}"} if plan.name in ports else {}
        for plan in plans
    }


def _links(
    plan: NodePlan, neighbours: list[NodePlan], ports: dict[str, dict[str, str]]
) -> dict[str, dict[str, str]]:
    """The neighbours of a station that stands apart: `down` towards the network, `up` towards the user."""
    order = ("EUA", "MSH", "AP")
    place = order.index(plan.stations[0])
    links = {}
    for other in neighbours:
        distance = order.index(other.stations[0]) - place
        if abs(distance) == 1:
            links["down" if distance > 0 else "up"] = {
                "url": f"https://{ports[other.name]['stations']}",
                "certificate": f"../{other.name}/keys/message.cert.pem",
            }
    return links
