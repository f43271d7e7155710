"""Two demos that run side by side for the whole session, each with its network kept running."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import Command, Home
from status_search import search

KEPT = "the network keeps running"


@dataclass
class Shown:
    """A demo that has shown its exchange and keeps its network running; `resources` are its delivery events."""

    arrangement: str
    home: Home
    command: Command
    resources: list[dict[str, Any]]

    @property
    def directories(self) -> dict[str, Path]:
        """The directories of the nodes by their names."""
        return {config.parent.name: config.parent for config in self.home.nodes()}


@pytest.fixture(scope="session")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Shown]]:
    """Both arrangements at once: they must not meet."""
    homes = {
        arrangement: Home(tmp_path_factory.mktemp(f"demo-{arrangement}"))
        for arrangement in ("together", "apart")
    }
    try:
        commands = {
            arrangement: home.start("demo", "--keep", "--stations", arrangement)
            for arrangement, home in homes.items()
        }
        for command in commands.values():
            command.until_said(KEPT)
        yield {
            arrangement: Shown(
                arrangement, home, commands[arrangement], asyncio.run(search(home.nodes()))
            )
            for arrangement, home in homes.items()
        }
        for command in commands.values():
            assert command.interrupt() == 0
        for home in homes.values():
            assert home.processes() == {}
            assert home.is_clean
    finally:
        for home in homes.values():
            home.leave()
