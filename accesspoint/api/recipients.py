"""To whom, in a person's words: a GLN, a SOR id, or the name of an organisation that the configuration knows.

A GLN is taken as it is. Everything else is looked for among the known addresses first; a SOR id that is none of them is
asked of the addressing service, for the kind of message that is to be sent. What it answers is known from then on for
this kind, as long as the process lives: an organisation may take another kind elsewhere.

Spec: EHMI addressing service, use case 4 and the addressing example: the organisation's SOR id becomes RECEIVERID, the
endpoint's GLN the receiver.
"""

import re
from functools import partial
from typing import Final

from accesspoint.addressing.client import AddressingFailed
from accesspoint.addressing.service import AddressingService
from accesspoint.aside import aside
from accesspoint.stations.document import Address
from accesspoint.stations.end_user_application import EndUserApplication, SubmissionRefused
from envelope import fhir
from envelope.ehmi import find_document
from envelope.errors import EnvelopeError
from envelope.fhir.formats import is_thirteen_digits

_SOR: Final = re.compile(r"[0-9]{15,18}", re.ASCII)


class Recipients:
    """Finds receivers for one end-user application; `addressing` is None where no such service is configured."""

    def __init__(
        self, application: EndUserApplication, addressing: AddressingService | None
    ) -> None:
        self._application = application
        self._addressing = addressing
        self._found: dict[tuple[str, str | None], str] = {}

    async def resolve(self, wanted: str, data: bytes) -> str:
        """Return the GLN that `wanted` means for the message `data`.

        Raises: SubmissionRefused (`receiver-unknown`), AddressingFailed.
        """
        if is_thirteen_digits(wanted):
            return wanted
        known = self._application.find_addresses(wanted)
        if len(known) > 1:
            raise SubmissionRefused("receiver-unknown", f"{len(known)} addresses have this name")
        if known:
            return known[0].gln
        if self._addressing is None or not _SOR.fullmatch(wanted):
            raise SubmissionRefused(
                "receiver-unknown", f"no known address has this name or SOR id: {wanted[:80]}"
            )
        document = await aside(partial(_document_of, data), len(data))
        if (asked_before := self._found.get((wanted, document))) is not None:
            return asked_before
        found = await self._addressing.find_by_sor(wanted, documents=[document] if document else [])
        endpoints = [
            (receiver, endpoint)
            for receiver in found
            for endpoint in (receiver.takes(document) if document else receiver.endpoints)
        ]
        if len(endpoints) != 1:
            raise AddressingFailed(
                "addressing-not-found", f"{len(endpoints)} endpoints take the message, one must"
            )
        receiver, endpoint = endpoints[0]
        self._application.learn(Address(endpoint.gln, receiver.sor, receiver.name))
        self._found[wanted, document] = endpoint.gln
        return endpoint.gln


def _document_of(data: bytes) -> str | None:
    """The DOCUMENTID of a message; None for what is refused soon after, by its own rules."""
    try:
        facts = fhir.recognise(fhir.read_message(data))
        return find_document(facts.event_code, facts.definition_version).document_id
    except (fhir.MessageRefused, EnvelopeError):
        return None
