"""`accesspoint cert inspect` and `verify`: what a certificate is, and whether this node would trust it."""

import asyncio
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from accesspoint.api.client import NodeUnreachable
from accesspoint.certificates import (
    PURPOSES,
    WORDS,
    Shown,
    Verdict,
    alternative_names,
    chain_lines,
    describe_whole,
    judge,
    plain,
    refusal_lines,
    render,
    tls_validator,
)
from accesspoint.cli.cert_files import find, find_or_request, telling_of_keys
from accesspoint.cli.current import find_config, load_given
from accesspoint.clock import SystemClock
from accesspoint.config import Configuration
from accesspoint.identity import partner_certificates, party_of
from accesspoint.problems import ExitStatus
from accesspoint.trust import REVOCATION, open_validator
from keys.certificate import describe, describe_key
from keys.errors import KeysError
from keys.identity import PartyIdentity, check_party
from keys.path import Usage, Validator
from keys.revocation import PREFER, RevocationMode
from keys.trust import Purpose

_SIGNED: Final = "with its own key: that proves who has the key, and nothing of who it is"
_USES: Final = {
    "message": (Usage.SIGNING, Usage.ENCRYPTION),
    "sign": (Usage.SIGNING,),
    "decrypt": (Usage.ENCRYPTION,),
    "tls-server": (Usage.TLS_SERVER,),
    "tls-client": (Usage.TLS_CLIENT,),
    "smp": (Usage.SIGNING,),
}


def inspect(what: str, config: Path | None, *, passphrase_file: Path | None, as_json: bool) -> int:
    """Show it; the exit status."""
    with telling_of_keys():
        shown = find_or_request(what, _configuration(config), passphrase_file)
    if isinstance(shown, x509.CertificateSigningRequest):
        return _show_request(shown, as_json=as_json)
    told = describe_whole(shown.leaf, SystemClock().now())
    if as_json:
        told["chain"] = [plain(describe(one)) for one in shown.certificates[1:]]
        return _write_json(told)
    lines = [*render(told), *chain_lines(shown.certificates)]
    sys.stdout.write("\n".join(lines) + "\n")
    return ExitStatus.OK


def _show_request(request: x509.CertificateSigningRequest, *, as_json: bool) -> int:
    """Whose certificate is asked for, with which key and names; whoever holds the key wrote it, and nobody vouches."""
    told = {
        "kind": "request",
        "subject": plain(request.subject.rfc4514_string()),
        "key": describe_key(request),
        "names": [plain(name) for name in alternative_names(request)],
    }
    if as_json:
        return _write_json(told)
    sys.stdout.write("a request for a certificate (PKCS #10), and no certificate\n")
    sys.stdout.write(f"subject    {told['subject']}\nkey        {told['key']}\n")
    if told["names"]:
        sys.stdout.write(f"names      {', '.join(told['names'])}\n")
    sys.stdout.write(f"signed     {_SIGNED}\n")
    return ExitStatus.OK


def verify(
    what: str,
    config: Path | None,
    *,
    use: str | None,
    offline: bool,
    passphrase_file: Path | None,
    as_json: bool,
) -> int:
    """Judge it; the exit status."""
    configuration = load_given(find_config(config))
    with telling_of_keys():
        shown = find(what, configuration, passphrase_file)
        uses = shown.uses if use is None else _USES[use]
        verdicts = asyncio.run(
            judge_all(configuration, shown, uses, smp=use == "smp", offline=offline)
        )
        verdicts += _party(configuration, what, shown)
    if as_json:
        found = [
            {"use": str(one.usage), "trusted": one.trusted, "problem": one.problem, "why": one.why}
            for one in verdicts
        ]
        _write_json({"certificate": plain(describe(shown.leaf)), "verdicts": found})
    else:
        sys.stdout.write(f"{plain(describe(shown.leaf))}\n")
        for one in verdicts:
            word = "trusted" if one.trusted else "NOT trusted"
            sys.stdout.write(f"  {WORDS[one.usage]}: {word}\n    {one.why}\n")
        told: set[str | None] = set()
        for one in verdicts:
            if not one.trusted and one.problem not in told:
                told.add(one.problem)
                sys.stdout.write(f"\n{refusal_lines(shown, one)}\n")
    return ExitStatus.OK if all(one.trusted for one in verdicts) else ExitStatus.TRUST


async def judge_all(
    configuration: Configuration,
    shown: Shown,
    uses: tuple[Usage, ...],
    *,
    smp: bool = False,
    offline: bool = False,
    at: datetime | None = None,
    may_be_unknown: bool = False,
) -> list[Verdict]:
    """What the node's own rules say of each use, at a time that is now unless given.

    With `may_be_unknown` a certificate is refused for being revoked, and not for nobody knowing whether it is.
    Raises KeysError: what the configuration trusts cannot be read.
    """
    clock = SystemClock()
    validators: dict[Purpose, Validator] = {}
    found: list[Verdict] = []
    for usage in uses:
        purpose = Purpose.SMP if smp else PURPOSES[usage]
        if purpose not in validators:
            rules = await _validator(configuration, purpose, shown, usage, clock, offline=offline)
            if may_be_unknown and rules.revocation.mode is RevocationMode.REQUIRE:
                rules = rules.under(PREFER)
            validators[purpose] = rules
        found.append(judge(shown, usage, validator=validators[purpose], at=at or clock.now()))
    return found


async def _validator(
    configuration: Configuration,
    purpose: Purpose,
    shown: Shown,
    usage: Usage,
    clock: SystemClock,
    *,
    offline: bool,
) -> Validator:
    """The rules of a purpose, with what is to be known of revocation fetched unless we are offline."""
    if purpose is Purpose.TLS:
        return tls_validator(configuration)
    trust = configuration.trust
    settings = trust.smp if purpose is Purpose.SMP else trust.message
    cache = configuration.store.directory / REVOCATION
    # The files there are the node's own: of another user, or from a writer beside it, they would be of no use to it.
    validator, refresher = open_validator(purpose, settings, clock=clock, cache=cache, keep=False)
    if refresher is None:
        return validator
    # Answers are asked for and taken up of certificates that came up before.
    if validator.revocation.mode is not RevocationMode.OFF:
        judge(shown, usage, validator=validator.under(PREFER), at=clock.now())
    if offline:
        await refresher.read_files()
    else:
        await refresher.refresh()
    return validator


def _party(configuration: Configuration, what: str, shown: Shown) -> list[Verdict]:
    """What speaks against a partner's certificate being the partner's: it is held to the first one that is agreed."""
    partner = configuration.partners.get(what)
    if partner is None:
        return []
    party = party_of(what, partner_certificates(partner))
    try:
        check_party(shown.leaf, PartyIdentity(party, common_name=party))
    except (KeysError, ValueError) as error:
        return [Verdict(Usage.SIGNING, plain(str(error)), problem="certificate-other-party")]
    return []


def _configuration(config: Path | None) -> Configuration | None:
    """The configuration that is given, or that of the network that runs; a file can be shown without any."""
    try:
        return load_given(find_config(config))
    except NodeUnreachable:
        return None


def _write_json(value: Any) -> int:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    return ExitStatus.OK
