"""`accesspoint cert list`: every certificate that this node works with, and what is due when."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from accesspoint.certificates import Json, describe_whole, own_certificates, plain
from accesspoint.cli.current import find_config, load_given
from accesspoint.clock import SystemClock
from accesspoint.config import Configuration
from accesspoint.identity import partner_certificates
from accesspoint.problems import ExitStatus
from accesspoint.trust import REVOCATION, open_validator
from keys.expiry import Life
from keys.store import load_certificate_files
from keys.trust import Purpose

_DUE: Final = frozenset({Life.EXPIRED, Life.URGENT})
_MARKS: Final = {Life.RENEW: "  RENEW", Life.URGENT: "  RENEW TODAY", Life.EXPIRED: "  EXPIRED"}


def run(config: Path | None, *, anchors: bool, as_json: bool) -> int:
    """List them; the exit status."""
    configuration = load_given(find_config(config))
    rows = list(_rows(configuration, anchors=anchors))
    known = list(_revocation(configuration))
    if as_json:
        told = {"certificates": rows, "revocation": known}
        sys.stdout.write(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    else:
        for row in rows:
            sys.stdout.write(_line(row))
        for one in known:
            sys.stdout.write(f"{one['purpose']:18} {'revocation':12} {one['age']}\n")
    due = any(
        row.get("life") in _DUE for row in rows if row["age"] in ("active", "next", "partner")
    )
    return ExitStatus.FAILED if due else ExitStatus.OK


def _rows(configuration: Configuration, *, anchors: bool) -> Iterator[Json]:
    now = SystemClock().now()
    for directory, shown, age, since in own_certificates(configuration):
        told = describe_whole(shown.leaf, now) if shown.certificates else {}
        yield {
            "name": shown.label,
            "age": str(age),
            "from": since.isoformat() if since else None,
            "directory": str(directory),
            **told,
        }
    for name, partner in configuration.partners.items():
        for certificate in partner_certificates(partner):
            yield {"name": name, "age": "partner", **describe_whole(certificate, now)}
    if not anchors:
        return
    trust = configuration.trust
    for purpose, settings in (("message", trust.message), ("tls", trust.tls), ("smp", trust.smp)):
        if settings is None:
            continue
        for files, kind in ((settings.anchors, "anchor"), (settings.intermediates, "intermediate")):
            for certificate in load_certificate_files(files):
                yield {"name": purpose, "age": kind, **describe_whole(certificate, now)}


def _revocation(configuration: Configuration) -> Iterator[Json]:
    """The lists that the node has, by what it kept of them, and the files that are brought to it."""
    clock, trust = SystemClock(), configuration.trust
    for purpose, settings in ((Purpose.MESSAGE, trust.message), (Purpose.SMP, trust.smp)):
        if settings is None:
            continue
        cache = configuration.store.directory / REVOCATION
        _, refresher = open_validator(purpose, settings, clock=clock, cache=cache)
        if refresher is None:
            yield {"purpose": str(purpose), "age": f"checking is {settings.revocation}"}
            continue
        asyncio.run(refresher.read_files())
        found = [plain(one.sentence(clock.now())) for one in refresher.known()]
        for age in found or ["no list is at hand; the node fetches them while it runs"]:
            yield {"purpose": str(purpose), "age": age}


def _line(row: Json) -> str:
    if "remaining" not in row:
        return f"{row['name']:18} {row['age']:12} waits for its certificate: accesspoint cert import {row['name']} FILE\n"
    mark = _MARKS.get(Life(row["life"]), "")
    since = f"  takes over {row['from'][:16]}" if row.get("from") else ""
    return f"{row['name']:18} {row['age']:12} {row['remaining']}{since}{mark}\n{'':31} serial {row['serial']}, {row['key']}\n"
