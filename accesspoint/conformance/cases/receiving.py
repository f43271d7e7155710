"""Common Profile, the receiver: what is accepted, what is refused, and what the consumer gets."""

from accesspoint.conformance.author import Draft
from accesspoint.conformance.case import case
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.target import Target


@case("AS4_CP_TA01")
async def push_is_receipted(target: Target, recorder: Recorder) -> str:
    """A plain push gets its receipt."""
    return await target.accepts(Draft(), recorder)
