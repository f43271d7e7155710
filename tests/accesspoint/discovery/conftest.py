"""A directory whose answers a test decides, and a clock that moves only when told."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from accesspoint.clock import ManualClock
from accesspoint.discovery.directory import Endpoint, Hop, HopKind, LookupFailed, LookupProblem


class ScriptedDirectory:
    """Answers what `answer` says and counts its look-ups."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.expires_at: datetime | None = None
        self.failure: LookupFailed | None = None

    async def find_endpoint(self, participant: str, document_id: str, process_id: str) -> Endpoint:
        self.asked.append((participant, document_id, process_id))
        if self.failure is not None:
            raise self.failure
        return Endpoint(
            participant,
            document_id,
            process_id,
            f"https://127.0.0.1/as4/{len(self.asked)}",
            b"certificate",
            "bdxr-transport-ebms3-as4-v1p0",
            self.expires_at,
            (Hop(HopKind.SMP, "asked", 3.0),),
        )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 21, 9, 30, tzinfo=UTC))


@pytest.fixture
def scripted() -> ScriptedDirectory:
    return ScriptedDirectory()


@pytest.fixture
def failure() -> Callable[..., LookupFailed]:
    def make(slug: LookupProblem, *, permanent: bool) -> LookupFailed:
        return LookupFailed(
            slug, "planted", permanent=permanent, hops=[Hop(HopKind.SML, "asked", 1.0)]
        )

    return make
