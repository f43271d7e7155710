"""The English words of the problems with our own keys: what each step of their walk is refused for.

Beside the others of the catalogue (`problem_texts`), as each of them has one thing to do: that of the step before.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from accesspoint.problem_form import ProblemText

ROTATION: Final[Mapping[str, ProblemText]] = MappingProxyType(
    {
        "certificate-import": ProblemText(
            "The keys were not changed",
            "{what}.",
            "the file is not the answer to this request, its authority made another certificate than our own rules ask for, or the steps of the rotation were taken in another order.",
            ("accesspoint cert list", "accesspoint docs certificates"),
        ),
        "certificate-of-another-key": ProblemText(
            "The certificate was made for another key",
            "{what}.",
            "the file is the answer to another request: an earlier one, or one of another role or machine.",
            (
                "accesspoint cert import {role} FILE   with the answer to this request, or with key and certificate of one pair",
            ),
        ),
        "answer-without-request": ProblemText(
            "No request waits for an answer",
            "{what}.",
            "the answer was imported before, or the request was made in another key directory, or for another role.",
            (
                "accesspoint cert list   shows what is here",
                "accesspoint cert request {role}   where nothing was asked for yet",
            ),
        ),
        "request-waits-already": ProblemText(
            "A request waits already",
            "{what}.",
            "an earlier request was not answered yet, or its answer is still to be imported.",
            ("accesspoint cert import {role} FILE   with the answer to it",),
        ),
        "next-pair-waits-already": ProblemText(
            "Another pair is the next one already",
            "{what}.",
            "an answer was imported before, and its switch is still to come.",
            ("accesspoint cert rotate {role}   makes that one active; then import this one",),
        ),
        "rotation-without-next": ProblemText(
            "There is nothing to rotate to",
            "{what}.",
            "no answer was imported yet, or the switch to it was done already.",
            (
                "accesspoint cert list   shows which pair is active",
                "accesspoint cert import {role} FILE   with the answer of the authority, where one is still to come",
            ),
        ),
        "rotation-without-previous": ProblemText(
            "There is nothing to finish",
            "{what}.",
            "the previous pair was removed already, or no switch was done yet.",
            ("nothing; accesspoint cert list   shows the pairs that are here",),
        ),
        "rotation-unfinished": ProblemText(
            "The rotation before this one is not finished",
            "{what}.",
            "the pair that was active before the last switch was not removed yet.",
            ("accesspoint cert rotate {role} --finish   then this switch again",),
        ),
        "rotation-finished-too-early": ProblemText(
            "The previous pair is still needed",
            "{what}.",
            "a partner may remember the old certificate for a day, and repeat for another one what it encrypted for it.",
            ("wait until {until}, then  accesspoint cert rotate {role} --finish",),
        ),
    }
)
