"""The end-user edge as tests of it have it: above a message service handler that takes everything."""

import json
from collections.abc import Callable
from typing import Any

from as4_wire import medcom_message
from station_parts import BUNDLE, MESSAGE, RECEIVER, SENDER, Neighbour, Parts

from accesspoint.stations.document import Address, Document
from accesspoint.stations.end_user_application import EndUserApplication
from envelope import fhir

Bundle = dict[str, Any]


class Application:
    """An end-user application edge above a message service handler that takes everything."""

    def __init__(
        self, parts: Parts, organisation: Address, *, readdress: bool = False, **more: Any
    ) -> None:
        self.parts = parts
        self.down: Neighbour[Document] = Neighbour()
        options: dict[str, Any] = {
            "served": {organisation.gln: organisation},
            "known": {one.gln: one for one in (SENDER, RECEIVER)},
            "acknowledge": True,
            **more,
        }
        self.station = EndUserApplication(
            database=parts.database,
            payloads=parts.payloads,
            reporter=parts.reporter,
            clock=parts.clock,
            ids=parts.ids,
            organisation=organisation,
            readdress=readdress,
            **options,
        )
        self.station.down = self.down

    async def submit(self, data: bytes, *, to: str | None = None) -> Any:
        submission, commit = await self.station.submit(data, to=to)
        await self.parts.run(commit)
        return submission

    async def receive(self, item: Document) -> None:
        await self.parts.run(await self.station.take_document(item))


def message(change: Callable[[Bundle], None] = lambda bundle: None) -> bytes:
    bundle = json.loads(medcom_message(MESSAGE, BUNDLE)[0])
    change(bundle)
    return json.dumps(bundle).encode()


def header_of(bundle: Bundle) -> Bundle:
    resource: Bundle = bundle["entry"][0]["resource"]
    return resource


def answer_in(parts: Parts, application: Application) -> fhir.MessageFacts:
    data = parts.read(application.down.taken[-1].stored)
    read = fhir.read_message(data)
    assert [f for f in fhir.validate(read) if f.severity == "error"] == []
    return fhir.recognise(read)
