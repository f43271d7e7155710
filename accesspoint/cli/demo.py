"""`accesspoint demo`: the main job once, with its timeline; exit 0 only when every step was verified."""

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from accesspoint import __version__, log
from accesspoint.cli.current import current
from accesspoint.clock import SystemClock
from accesspoint.demo.play import play, sample_message, spoil
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.demo.stage import BREAKS, Break, Stage
from accesspoint.demo.timeline import Timeline
from accesspoint.ids import SystemIds
from accesspoint.problems import ExitStatus
from envelope.pmode import Generation

ARRANGEMENTS: Final = ("together", "apart")


def run(
    *,
    keep: bool,
    stations: str,
    file: Path | None,
    broken: str | None,
    list_breaks: bool,
    seconds: float,
    generation: Generation = Generation.V1_15,
    share: bool = False,
) -> int:
    """Run the demo; the exit status."""
    if list_breaks:
        for known, text in BREAKS.items():
            sys.stdout.write(f"  {known:<26} {text}\n")
        return ExitStatus.OK
    if stations not in ARRANGEMENTS:
        sys.stderr.write("--stations is `together` or `apart`\n")
        return ExitStatus.USAGE
    if broken is not None and broken not in BREAKS:
        near = get_close_matches(broken, BREAKS, n=1)
        hint = f"Did you mean {str(near[0])!r}?" if near else "See accesspoint demo --list-breaks"
        sys.stderr.write(f"no step is called {broken!r}. {hint}\n")
        return ExitStatus.USAGE
    try:
        message = None if file is None else file.read_bytes()
    except OSError as error:
        sys.stderr.write(f"{file}: {error.strerror}\n")
        return ExitStatus.USAGE
    log.configure(level="error")
    step = None if broken is None else Break(broken)
    return asyncio.run(
        _run(
            keep=keep,
            apart=stations == "apart",
            message=message,
            broken=step,
            seconds=seconds,
            generation=generation,
            share=share,
        )
    )


async def _run(
    *,
    keep: bool,
    apart: bool,
    message: bytes | None,
    broken: Break | None,
    seconds: float,
    generation: Generation,
    share: bool,
) -> int:
    out = Timeline(sys.stdout)
    clock = SystemClock()
    stop = stop_on_signals()
    started = time.monotonic()
    out.say(
        f"  EHMI access point {__version__}   TEST network on loopback, throw-away certificates"
        + ("" if generation is Generation.V1_15 else f", eDelivery AS4 {generation}")
    )
    with tempfile.TemporaryDirectory(prefix="ehmi-demo-") as place:
        stage = Stage(
            Path(place),
            apart=apart,
            clock=clock,
            ids=SystemIds(clock),
            broken=broken,
            generation=generation,
            share=share,
        )
        keeping = asyncio.Event()
        playing = asyncio.create_task(
            _play(
                stage,
                message,
                out,
                started,
                keeping,
                keep=keep,
                apart=apart,
                seconds=seconds,
                stop=stop,
            )
        )
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait([playing, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not playing.done() and not keeping.is_set():
            playing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await playing
            out.say("\n  interrupted; every process has ended")
            return ExitStatus.INTERRUPTED
        status = await playing
    if keep:
        out.say("\n  stopped; the data is deleted")
    return status


async def _play(
    stage: Stage,
    message: bytes | None,
    out: Timeline,
    started: float,
    keeping: asyncio.Event,
    *,
    keep: bool,
    apart: bool,
    seconds: float,
    stop: asyncio.Event,
) -> int:
    async with stage:
        show_network(stage, out)
        out.say(
            f"  authority, keys and {len(stage.nodes)} processes ready in {time.monotonic() - started:.1f} s\n"
        )
        data = message or sample_message(SystemClock())
        culprit = await play(
            stage, spoil(data) if _is_spoilt(stage) else data, out, apart=apart, seconds=seconds
        )
        out.say()
        if culprit is None:
            out.say(
                f"  every step held: delivered, acknowledged and tracked in {time.monotonic() - started:.1f} s with set-up"
            )
        else:
            out.say(culprit.render())
        if keep:
            keeping.set()
            async with kept(stage, out):
                ended = await until_stopped(stage, stop)
            if culprit is None:
                return ended
        return ExitStatus.OK if culprit is None else culprit.exit_status


@contextlib.asynccontextmanager
async def kept(stage: Stage, out: Timeline) -> AsyncIterator[None]:
    """Leave the network running, findable by the other commands, until the context ends."""
    configs = [stage.of(MUNICIPALITY.key, "EUA").plan.config]
    configs += [node.plan.config for node in stage.nodes if node.plan.config not in configs]
    with current(configs):
        out.say("\n  the network keeps running; Ctrl-C ends it")
        out.say(f"  data:     {stage.base}")
        for node in stage.nodes:
            if "EUA" in node.plan.stations:
                out.say(f"  received: {node.plan.inbox}")
        if stage.register is not None:
            out.say(f"  shared:   {stage.register.page}")
        network = stage.network
        out.say(f"  tracking: {network.pages_url}   sign in with the code {network.pages_code}")
        out.say(
            f"  next:     accesspoint send FILE --to {CLINIC.address.gln}      (in another terminal)"
        )
        out.say("            accesspoint watch")
        yield


async def until_stopped(stage: Stage, stop: asyncio.Event) -> int:
    """Wait until the network is to stop, or a node of it ended by itself, which is told; the exit status."""
    stopping = asyncio.create_task(stop.wait())
    # One may be away on purpose.
    running = [node for node in stage.nodes if node.process.pid is not None]
    endings = {asyncio.create_task(node.process.wait()): node for node in running}
    done, waiting = await asyncio.wait([stopping, *endings], return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    if stopping in done:
        return ExitStatus.OK
    for task, node in endings.items():
        if task in done:
            sys.stderr.write(
                f"\n{node.process.name} ended by itself ({_ending(await task)}), so the network stops;"
                f" its log says{node.process.tail() or ' nothing'}\n"
            )
    return ExitStatus.FAILED


def _ending(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"signal {-status}"


def show_network(stage: Stage, out: Timeline) -> None:
    """Say who is where."""
    for node in stage.nodes:
        addresses, organisation = node.process.addresses, node.plan.organisation
        as4 = (
            f"AS4 https://{addresses.as4}/as4"
            if addresses.as4
            else f"{'+'.join(node.plan.stations)}"
        )
        out.say(
            f"  {node.plan.name:<18} GLN {organisation.address.gln}   {as4}   http://{addresses.api}"
        )
    if stage.register is not None:
        address = stage.register.plan.organisation.address
        out.say(
            f"  {stage.register.plan.name:<18} GLN {address.gln}   AS4 https://{stage.register.as4}/as4   {stage.register.page}"
        )
    network = stage.network
    out.say(
        f"  network            SML {network.nameserver[0]}:{network.nameserver[1]}   SMP {network.smp_url}"
    )
    out.say(f"                     EDS {network.status_url}   tokens {network.token_url}")


def _is_spoilt(stage: Stage) -> bool:
    return stage.broken is Break.MESSAGE_INVALID


def stop_on_signals() -> asyncio.Event:
    """Set on Ctrl-C and SIGTERM, so that children are stopped in order."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop
