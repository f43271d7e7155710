"""Four Corner: what a message says of the two organisations behind the access points, and that it is passed on.

And the SBDH wrapper, in which a header of its own leads the payloads.
"""

import uuid
from typing import Final

from accesspoint.conformance.author import Draft, Payload
from accesspoint.conformance.case import NotApplicable, case, expect
from accesspoint.conformance.reading import Message, Q
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.target import Target
from envelope import names
from envelope.messaging import Property

_CORNERS: Final = ("originalSender", "finalRecipient")
_HEADER: Final = b"""<?xml version="1.0" encoding="UTF-8"?>
<StandardBusinessDocumentHeader xmlns="http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader">\
<HeaderVersion>1.0</HeaderVersion>\
<Sender><Identifier Authority="conformance">C1</Identifier></Sender>\
<Receiver><Identifier Authority="conformance">C4</Identifier></Receiver>\
<DocumentIdentification><Standard>urn:conformance</Standard><TypeVersion>1.0</TypeVersion>\
<InstanceIdentifier>conformance</InstanceIdentifier><Type>TEST</Type>\
<CreationDateAndTime>2026-01-01T00:00:00Z</CreationDateAndTime></DocumentIdentification>\
</StandardBusinessDocumentHeader>
"""


def _properties(message: Message) -> dict[str, str]:
    """The message properties by name."""
    return {
        one.get("name", ""): (one.text or "").strip()
        for element in message.all(names.EB, "MessageProperties")
        for one in element.iter(Q(names.EB, "Property"))
    }


@case("AS4_4CT_TA01")
async def corners_are_named(target: Target, recorder: Recorder) -> str:
    """The two properties of an outgoing message."""
    found = _properties((await target.send_business(recorder)).first)
    for name in _CORNERS:
        expect(found.get(name), f"a message property {name}", f"{sorted(found)}")
    return ", ".join(f"{name} {found[name]}" for name in _CORNERS)


@case("AS4_4CT_TA02")
async def tracking_identifier_is_passed_on(target: Target, recorder: Recorder) -> str:
    """A message with a tracking identifier, and what the consumer gets of it."""
    value = f"conformance-{uuid.uuid4()}"
    draft = Draft(properties=(Property("trackingIdentifier", value),))
    await target.accepts(draft, recorder)
    delivered = await target.deliveries(draft.message_id, recorder)
    expect(len(delivered) == 1, "one delivery", f"{len(delivered)}")
    found = delivered[0].properties.get("trackingIdentifier")
    expect(found == value, f"trackingIdentifier {value} at the consumer", f"{found}")
    return f"trackingIdentifier {value} at the consumer"


@case("AS4_4CT_TA03")
async def parties_are_access_points(target: Target, recorder: Recorder) -> str:
    """From and To are neither of the corners behind them."""
    message = (await target.send_business(recorder)).first
    corners = {_properties(message).get(name, "") for name in _CORNERS}
    # The corner may be written with its scheme before it.
    corners |= {value.rpartition(":")[2] for value in corners}
    parties = message.texts(names.EB, "PartyId")
    expect(len(parties) == 2 and not corners & set(parties), "two access points", f"{parties}")
    expect(parties[0] != parties[1], "two different ones", f"{parties}")
    return f"from {parties[0]} to {parties[1]}"


@case("AS4_SBDH_TA01")
async def header_leads(target: Target, recorder: Recorder) -> str:
    """A header and a document, submitted in this order."""
    document = Payload()
    sent = await target.submit(Draft((Payload(_HEADER), document)), recorder)
    message = sent.first
    expect(len(message.part_infos) == 2, "two PartInfo", f"{len(message.part_infos)}")
    opened = target.open(message)
    expect(
        opened is not None and list(opened) == [_HEADER, document.content],
        "the header first and the document after it, octet by octet",
        "another order or other octets",
    )
    return "the header is the first part, the document the second"


@case("AS4_SBDH_TA02")
async def manifest_is_processed(_target: Target, _recorder: Recorder) -> str:
    """Nothing reads a manifest here."""
    raise NotApplicable(
        "EHMI puts header and document into one StandardBusinessDocument, so there is one part and no manifest;"
        " eDelivery AS4 2.0 has removed the wrapper"
    )
