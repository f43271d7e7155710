"""`accesspoint sample`: a synthetic message to send, to validate or to change by hand.

Each is from the municipality of the network in miniature to its clinic, so that a plain `send` takes it, and new: its
ids are drawn at every call, so that no receiver takes it for a repetition.
"""

import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Final

from accesspoint.clock import SystemClock
from accesspoint.demo.play import organization_of
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.explain.message import TITLES
from accesspoint.problems import ExitStatus
from envelope import fhir
from envelope.fhir.reading import Format, Resource, read_message
from envelope.fhir.samples import Setting, build_samples
from envelope.fhir.view import MessageView

_LONGEST_STORY: Final = timedelta(hours=1)
"""How much later than its beginning a message of `build_samples` may be: none is from the future."""


def run(name: str | None, *, list_them: bool, wire: Format) -> int:
    """Write one sample, or the names of all; the exit status."""
    if list_them:
        sys.stdout.write("".join(f"{line}\n" for line in _list()))
        return ExitStatus.OK
    if name is None:
        sys.stderr.write("name a sample: accesspoint sample --list\n")
        return ExitStatus.USAGE
    if name not in build_samples():
        sys.stderr.write(f"no sample is called {name}: accesspoint sample --list\n")
        return ExitStatus.USAGE
    # The octets as they are: a terminal's encoding must not change a message.
    sys.stdout.buffer.write(fhir.serialize(_make(name), wire) + b"\n")
    sys.stdout.buffer.flush()
    return ExitStatus.OK


def _make(name: str) -> Resource:
    """Make one from the municipality, an answer too: what it answers is then from the clinic."""
    at = SystemClock().now().replace(microsecond=0) - _LONGEST_STORY
    ours, theirs = organization_of(MUNICIPALITY), organization_of(CLINIC)
    setting = Setting(ours, theirs, CLINIC.ydernummer or "", at, str(uuid.uuid4()))
    made = build_samples(setting)[name]
    if fhir.recognise(read_message(fhir.serialize(made, "json"))).sender == ours:
        return made
    return build_samples(replace(setting, sender=theirs, receiver=ours))[name]


def _list() -> Iterator[str]:
    samples = build_samples()
    width = max(map(len, samples))
    for name, bundle in samples.items():
        view = MessageView(read_message(fhir.serialize(bundle, "json")))
        steps = ", ".join(view.activity(each) or "" for each in view.current_provenances)
        title = TITLES[view.event or ""].partition(",")[0]
        yield f"{name:{width}}  {title}, {steps}"
