"""SMP: the rules about a publisher's answers as cases, against the publisher that belongs to the target."""

from accesspoint.conformance.case import Case, case
from accesspoint.conformance.publishing import asking
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.smp_rules import RULES, Rule
from accesspoint.conformance.target import Target


def _as_case(rule: Rule) -> Case:
    async def ask_and_judge(target: Target, recorder: Recorder) -> str:
        async with target.publisher() as published, asking(recorder, published) as get:
            return await rule(published, get)

    return ask_and_judge


for _id, _rule in RULES.items():
    case(_id)(_as_case(_rule))
