"""Who judges a message at the edge: the named rules, and another validator where one is configured.

A certified system needs a validator that is built on a maintained HL7 implementation; the named rules are not one. So a
message that they let pass may be posted, whole, to a validator that answers with an OperationOutcome. Nothing of the
message and nothing of the answer is logged. Redirects are not followed, and connections go to the allowed networks only.

Spec: medcom-fhir.md 15, 22; hostile 1.16.
"""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import aiohttp
import structlog

from accesspoint.aside import aside
from accesspoint.bounded import AnswerTooLong, read_bounded
from accesspoint.config_validation import ExternalValidator, Validation
from accesspoint.networks import AllowedNetworks
from accesspoint.stations.answering import Code
from envelope import fhir
from envelope.fhir.outcome import read_outcome, unanswered
from envelope.limits import MIB

_LARGEST_ANSWER: Final = 4 * MIB
_log = structlog.get_logger("accesspoint.stations")


class NoAnswer(Exception):
    """The validator said nothing that can be used; the text says why, without a word of the answer."""


class External:
    """The validator at `settings.url`; its session is opened with the first message."""

    def __init__(self, settings: ExternalValidator) -> None:
        """Nothing is connected yet."""
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def judge(self, data: bytes, media_type: str) -> list[fhir.Finding]:
        """Post the bytes of a message; what it found, or the one finding that it did not answer."""
        try:
            return await self._ask(data, media_type)
        except NoAnswer as none:
            refuse = self._settings.without_answer == "refuse"
            _log.warning("external_validator_unanswered", reason=str(none), refused=refuse)
            return [unanswered("error" if refuse else "warning")]

    async def _ask(self, data: bytes, media_type: str) -> list[fhir.Finding]:
        if self._session is None:
            self._session = AllowedNetworks(self._settings.networks).open_session(
                seconds=self._settings.timeout.total_seconds()
            )
        headers = {"Content-Type": media_type, "Accept": "application/fhir+json"}
        url = self._settings.url
        try:
            async with self._session.post(
                url, data=data, headers=headers, allow_redirects=False
            ) as answer:
                body = await read_bounded(answer, _LARGEST_ANSWER)
                status = answer.status
        except AnswerTooLong:
            raise NoAnswer("the answer is too long") from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise NoAnswer(type(error).__name__) from None
        if status != 200 and not 400 <= status < 500:
            raise NoAnswer(f"HTTP {status}")
        try:
            found = await asyncio.to_thread(read_outcome, body)
        except ValueError:
            raise NoAnswer(f"HTTP {status} without an OperationOutcome") from None
        if status != 200 and not fhir.errors_of(found):
            raise NoAnswer(f"HTTP {status} without an error in its OperationOutcome")
        return found

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()


class Judge:
    """Judges what is sent and what was received, each as strictly as is configured."""

    def __init__(self, settings: Validation | None = None) -> None:
        """Without settings nobody else is asked."""
        settings = settings or Validation()
        self._sent = settings.sent == "strict"
        self._received = settings.received == "strict"
        self._external = None if settings.external is None else External(settings.external)

    async def judge_sent(self, message: fhir.FhirMessage, data: bytes) -> list[fhir.Finding]:
        """Everything that is found in a message that is about to be sent."""
        return await self._judge(message, data, strict=self._sent)

    async def judge_received(self, message: fhir.FhirMessage, data: bytes) -> list[fhir.Finding]:
        """Everything that is found in a message that arrived."""
        return await self._judge(message, data, strict=self._received)

    async def _judge(
        self, message: fhir.FhirMessage, data: bytes, *, strict: bool
    ) -> list[fhir.Finding]:
        findings = await aside(partial(fhir.validate, message, strict=strict), len(data))
        if self._external is None or fhir.errors_of(findings):
            return findings
        return [*findings, *await self._external.judge(data, message.mime_type)]

    async def close(self) -> None:
        """Let go of the connections to the validator."""
        if self._external is not None:
            await self._external.close()


def open_judge(settings: Validation, stack: AsyncExitStack) -> Judge:
    """The judge of a node, closed with the stack."""
    judge = Judge(settings)
    stack.push_async_callback(judge.close)
    return judge


def code_for(findings: tuple[fhir.Finding, ...]) -> Code:
    """The answer to a message with these errors; what nobody could judge is not its sender's doing."""
    if not findings:
        return "ok"
    return (
        "transient-error"
        if all(found.kind is fhir.Kind.UNAVAILABLE for found in findings)
        else "fatal-error"
    )
