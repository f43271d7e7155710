"""Partners that configuration knows: their address and certificate need no look-up.

A receiver without an entry is asked of the next directory, if there is one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from accesspoint.discovery.directory import (
    Directory,
    Endpoint,
    Hop,
    HopKind,
    LookupFailed,
    LookupProblem,
    RememberingDirectory,
)
from envelope import names
from envelope.sbdh_values import PARTICIPANT_PREFIX


@dataclass(frozen=True, slots=True)
class StaticPartner:
    """One receiver and its access point; `certificate` is DER, `name` the entry in the configuration."""

    name: str
    gln: str
    url: str
    certificate: bytes
    transport_profile: str = names.TRANSPORT_AS4_V1


class StaticDirectory:
    """Answers from configuration first; others are the affair of `otherwise`."""

    def __init__(
        self, partners: Iterable[StaticPartner], *, otherwise: Directory | None = None
    ) -> None:
        """Raises ValueError when two entries name the same receiver."""
        self._otherwise = otherwise
        self.take_partners(partners)

    def take_partners(self, partners: Iterable[StaticPartner]) -> None:
        """Answer from these from now on; raises ValueError when two entries name the same receiver."""
        found: dict[str, StaticPartner] = {}
        for partner in partners:
            participant = PARTICIPANT_PREFIX + partner.gln
            if participant in found:
                raise ValueError(
                    f"the partners {found[participant].name} and {partner.name} have the same GLN"
                )
            found[participant] = partner
        self._partners: Mapping[str, StaticPartner] = MappingProxyType(found)

    async def find_endpoint(self, participant: str, document_id: str, process_id: str) -> Endpoint:
        """Find the configured partner; it takes every document. Raises LookupFailed."""
        return await self._find(participant, document_id, process_id, afresh=False)

    async def find_afresh(self, participant: str, document_id: str, process_id: str) -> Endpoint:
        """The same, where the next directory does not answer from memory. Raises LookupFailed."""
        return await self._find(participant, document_id, process_id, afresh=True)

    async def _find(
        self, participant: str, document_id: str, process_id: str, *, afresh: bool
    ) -> Endpoint:
        partner = self._partners.get(participant)
        if partner is not None:
            return Endpoint(
                participant=participant,
                document_id=document_id,
                process_id=process_id,
                url=partner.url,
                certificate=partner.certificate,
                transport_profile=partner.transport_profile,
                expires_at=None,
                hops=(Hop(HopKind.STATIC, f"partner {partner.name} in the configuration", 0.0),),
            )
        other = self._otherwise
        if other is not None:
            if afresh and isinstance(other, RememberingDirectory):
                return await other.find_afresh(participant, document_id, process_id)
            return await other.find_endpoint(participant, document_id, process_id)
        raise LookupFailed(
            LookupProblem.NO_PARTICIPANT,
            f"no partner in the configuration is {participant}",
            permanent=True,
        )
