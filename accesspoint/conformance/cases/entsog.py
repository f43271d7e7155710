"""ENTSOG: assertions of another community's usage profile, shown so that nobody misses them, and not applicable."""

from accesspoint.conformance.assertion import catalogue
from accesspoint.conformance.case import NotApplicable, case
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.target import Target


async def _not_ours(_target: Target, _recorder: Recorder) -> str:
    raise NotApplicable(
        "it is about values of the usage profile of the gas transmission operators, which EHMI does not use"
    )


for _id in catalogue():
    if _id.startswith("AS4_ENTSOG_"):
        case(_id)(_not_ours)
