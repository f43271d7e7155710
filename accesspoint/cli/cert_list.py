"""`accesspoint cert list`: every certificate that this node works with, and what is due when."""

import asyncio
import json
import sys
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Final

from accesspoint.certificates import (
    Json,
    Shown,
    describe_whole,
    judge,
    key_holders,
    own_certificates,
    plain,
)
from accesspoint.cli.cert_files import telling_of_keys
from accesspoint.cli.current import as_option, find_config, load_given, with_keys
from accesspoint.clock import SystemClock
from accesspoint.config import Configuration
from accesspoint.identity import partner_certificates
from accesspoint.problems import ExitStatus
from accesspoint.trust import REVOCATION, open_validator
from keys.expiry import Life
from keys.revocation import PREFER
from keys.store import load_certificate_files
from keys.trust import Purpose

_DUE: Final = frozenset({Life.EXPIRED, Life.URGENT})
_MARKS: Final = {Life.RENEW: "  RENEW", Life.URGENT: "  RENEW TODAY", Life.EXPIRED: "  EXPIRED"}


def run(config: Path | None, *, anchors: bool, as_json: bool) -> int:
    """List them; the exit status."""
    configuration = load_given(find_config(config))
    with telling_of_keys():
        rows = list(_rows(configuration, anchors=anchors))
        known = list(_revocation(configuration))
    if as_json:
        told = {"certificates": rows, "revocation": known}
        sys.stdout.write(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    else:
        for row in rows:
            sys.stdout.write(_line(row, config))
        for one in known:
            sys.stdout.write(f"{one['purpose']:18} {'revocation':12} {one['age']}\n")
    due = any(
        row.get("life") in _DUE for row in rows if row["age"] in ("active", "next", "partner")
    )
    return ExitStatus.FAILED if due else ExitStatus.OK


def _rows(configuration: Configuration, *, anchors: bool) -> Iterator[Json]:
    now = SystemClock().now()
    holders = key_holders(configuration)
    for directory, shown, age, since in own_certificates(configuration, now):
        told = describe_whole(shown.leaf, now) if shown.certificates else {}
        yield {
            "name": shown.label,
            "age": str(age),
            "from": since.astimezone(UTC).isoformat() if since else None,
            "directory": str(directory),
            "organisation": plain(holders[directory]) or None,
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
    """The lists and answers that the node has, by what it kept of them, and the files that are brought to it."""
    clock, trust = SystemClock(), configuration.trust
    own = own_certificates(configuration, clock.now())
    known = [shown for _, shown, _, _ in own if shown.certificates]
    for name, partner in configuration.partners.items():
        known += [Shown(name, (one,)) for one in partner_certificates(partner)]
    for purpose, settings in ((Purpose.MESSAGE, trust.message), (Purpose.SMP, trust.smp)):
        if settings is None:
            continue
        cache = configuration.store.directory / REVOCATION
        validator, refresher = open_validator(purpose, settings, clock=clock, cache=cache)
        if refresher is None:
            yield {"purpose": str(purpose), "age": f"checking is {settings.revocation}"}
            continue
        # Answers are taken up only of certificates that came up.
        for shown in known:
            judge(shown, shown.uses[0], validator=validator.under(PREFER), at=clock.now())
        asyncio.run(refresher.read_files())
        found = [plain(one.sentence(clock.now())) for one in refresher.known()]
        for age in found or ["no list is at hand; the node fetches them while it runs"]:
            yield {"purpose": str(purpose), "age": age}


def _line(row: Json, config: Path | None) -> str:
    label = row["name"]
    command = f"accesspoint cert import {label} FILE{as_option(config)}"
    if row.get("organisation"):
        label = f"{label} of {row['organisation']}"
        # The commands change the node's own key directory, whichever the configuration names.
        command = with_keys(Path(row["directory"])) + command
    if "remaining" not in row:
        return f"{label:18} {row['age']:12} waits for its certificate: {command}\n"
    mark = _MARKS.get(Life(row["life"]), "")
    since = f"  takes over {row['from'][:16]} UTC" if row.get("from") else ""
    return f"{label:18} {row['age']:12} {row['remaining']}{since}{mark}\n{'':31} serial {row['serial']}, {row['key']}\n"
