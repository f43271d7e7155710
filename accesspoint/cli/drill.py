"""`accesspoint drill`: days of outages in virtual time; what queued, what drained, in what order, with a picture."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from accesspoint import log
from accesspoint.drill.picture import draw
from accesspoint.drill.plan import DESCRIPTIONS, Outage, standard_plan
from accesspoint.drill.play import SENDER, Ledger, Result, play
from accesspoint.problems import ExitStatus

REDRAW_SECONDS: Final = 0.2


def run(*, every: float, picture: Path) -> int:
    """Run the drill, print its report and write its picture; `every` is in virtual minutes; the exit status."""
    log.configure(level="critical")
    plan = standard_plan(timedelta(minutes=every))
    began = time.monotonic()
    sys.stdout.write(
        f"  two access points in virtual time: {plan.submissions} messages over {_days(plan.length)}\n\n"
    )
    sys.stdout.flush()
    result = play(plan, progress=_progress(plan.length))
    try:
        picture.write_text(draw(result), encoding="utf-8")
    except OSError as error:
        sys.stderr.write(f"{picture}: {error.strerror}\n")
        return ExitStatus.USAGE
    for outage in plan.outages:
        sys.stdout.write(describe(result, outage))
    sys.stdout.write(_summary(result))
    sys.stdout.write(f"  picture: {picture}     ({time.monotonic() - began:.0f} s)\n")
    return ExitStatus.FAILED if result.findings else ExitStatus.OK


def describe(result: Result, outage: Outage) -> str:
    """What one outage did: what queued, when it had drained, and in what order."""
    fullest, drained = result.queued_at_most(outage), result.drained_after(outage)
    inside, overtaken = result.overtaken(outage)
    after = (
        "nothing had waited" if not fullest.waiting
        else "never drained" if drained is None
        else f"drained {_hours(drained)} after its return"
    )  # fmt: skip
    order = (
        "no message was accepted meanwhile" if not inside
        else f"{inside} messages accepted meanwhile, delivered in the order of their acceptance" if not overtaken
        else f"{inside} messages accepted meanwhile, {overtaken} of them overtaken by a later one"
    )  # fmt: skip
    return (
        f"  {outage.part} away for {_hours(outage.end - outage.start)}: {DESCRIPTIONS[outage.part]}\n"
        f"    queued at most   {fullest.sending} to send, {fullest.events} events, {fullest.deliveries} to deliver\n"
        f"    then             {after}\n"
        f"    order            {order}\n\n"
    )


def _summary(result: Result) -> str:
    ledger = result.ledger
    lines = [
        f"  {len(ledger.submitted)} messages accepted, {len(ledger.delivered)} delivered",
        f"  {result.events} delivery events arrived, {result.events_repeated} of them a second time",
        f"  {ledger.refused} submissions found no node and were made again",
        f"  the sender's node was started {result.starts[SENDER]} times",
    ]
    if result.findings:
        lines += ["", *(f"  ✗ {finding}" for finding in result.findings)]
    else:
        lines.append("  ✓ nothing lost, nothing twice, every event once")
    return "\n".join(lines) + "\n"


def _progress(length: timedelta) -> Callable[[timedelta, Ledger], None]:
    """A line that is written over, on a terminal only."""
    shown = 0.0

    def show(now: timedelta, ledger: Ledger) -> None:
        nonlocal shown
        if not sys.stderr.isatty() or time.monotonic() - shown < REDRAW_SECONDS:
            return
        shown = time.monotonic()
        waiting = ledger.samples[-1].waiting
        sys.stderr.write(
            f"\r  day {now / timedelta(days=1):5.2f} of {length / timedelta(days=1):.1f}"
            f"   {len(ledger.submitted)} accepted   {waiting} waiting   "
        )
        if now >= length and not waiting:
            sys.stderr.write("\r" + " " * 70 + "\r")
        sys.stderr.flush()

    return show


def _hours(length: timedelta) -> str:
    minutes = round(length / timedelta(minutes=1))
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h" if not minutes else f"{hours} h {minutes} min"


def _days(length: timedelta) -> str:
    return f"{length / timedelta(days=1):.1f} days"
