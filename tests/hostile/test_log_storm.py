"""A storm of bad requests: the log tells of it in a few lines, and each refusal that its allowance covers has a row."""

import asyncio

import pytest
from as4_arena import Arena
from as4_stage import LogLines

REQUESTS, MOST = 60, 5


@pytest.mark.attack("LOG-02")
async def test_each_refusal_is_recorded_and_lines_and_counts_are_all_of_them(
    arena: Arena, log_lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    await arena.node.idle()
    monkeypatch.setattr("accesspoint.log_storm.MOST_LINES", MOST)
    monkeypatch.setattr("accesspoint.log_storm.WINDOW_SECONDS", 0.5)
    begin, before = log_lines.mark, (await arena.node.counts())["refusals"]

    async def ask() -> None:
        async with arena.client.session.get(f"{arena.client.url}/nothing") as answer:
            assert answer.status >= 400
            await answer.read()

    await asyncio.gather(*(ask() for _ in range(REQUESTS)))
    assert (await arena.node.counts())["refusals"] == before + REQUESTS

    def told() -> tuple[int, int]:
        events = log_lines.since(begin)
        lines = sum(event["event"] == "as4.in.refused" for event in events)
        held = sum(e["count"] for e in events if e.get("of") == "as4.in.refused")
        return lines, held

    async def complete() -> bool:
        return sum(told()) == REQUESTS

    await arena.node.until(complete, "the count of what was held back")
    lines, held = told()
    assert held > 0
    assert lines < REQUESTS
    await arena.accepts(arena.author.compose())
