"""`accesspoint cert request`, `import` and `rotate`: how a key of ours is followed by the next one.

Only the key directory is changed. A node that runs looks at it every second and takes what it finds, so these
commands work alike whether it runs or not, and nothing here needs the interface of a node.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from accesspoint.certificates import PURPOSES, WORDS, Shown, describe_whole, named, plain
from accesspoint.cli.cert_files import read_answer
from accesspoint.cli.cert_show import judge_all
from accesspoint.cli.current import KEYS_DIRECTORY, as_option, find_config, load_given, with_keys
from accesspoint.clock import SystemClock
from accesspoint.config import Configuration
from accesspoint.problems import ExitStatus, ProblemRaised
from keys import rotation
from keys.certificate import describe
from keys.devca import system_name
from keys.errors import KeysError
from keys.path import Usage
from keys.roles import Age, Role
from keys.rotation import USES
from keys.store import has_key, locked
from keys.trust import Purpose

_SETTLED: Final = timedelta(days=2)
"""How long the previous pair is kept: a partner whose directory is away believes what it remembers for a day, and
then repeats for a day what it encrypted by that (the defaults of `[directory.cache]` and `[retry]`)."""
_GRACE: Final = timedelta(minutes=5)
"""How far a moment that somebody wrote down may be over: for clocks that differ, and for the time that typing takes."""
_Subject = tuple[str | None, str | None, str | None, str | None]
"""Common name, organisation, CVR and UUID, as far as they were given."""
_REQUEST: Final = b"BEGIN CERTIFICATE REQUEST-----"
_OPENS: Final = "what is encrypted for it can be opened from now on"
_NOT_YET: Final = "it is used from the switch on"
_TELL: Final = "give it to partners and directory"
_TELL_TLS: Final = "give it to those who pinned the present one, if any"
_CERTAIN: Final[Mapping[str, str]] = {
    "import.key": "certificate-of-another-key",
    "import.waiting": "answer-without-request",
    "import.next": "next-pair-waits-already",
    "request.waiting": "request-waits-already",
    "rotate.nothing": "rotation-without-next",
    "rotate.previous": "rotation-unfinished",
    "finish.nothing": "rotation-without-previous",
}
"""The refusals after which it is certain what to do: their reason, and the problem that says it."""
_REMAINS: Final = "the previous pair still decrypts; when nobody encrypts for it any more"
_REMAINS_UNUSED: Final = "nothing new is done with the previous pair; to remove it"


def request(
    role: Role,
    config: Path | None,
    *,
    subject: _Subject | None,
    names: Sequence[str] | None,
    out: Path | None,
) -> int:
    """Make key and request; the exit status."""
    directory = load_given(find_config(config)).keys.directory
    if out is not None:
        _require_free(out)
    try:
        rotation.finish_due(directory, SystemClock().now())
        made = rotation.request(directory, role, subject=_subject(subject), names=names or None)
    except KeysError as error:
        raise _refused(error, role) from error
    if out is not None:
        shutil.copyfile(made, out)
    sys.stdout.write(
        f"made a private key, which stays in {directory}, and a request for its certificate:\n  {out or made}\n"
        "send the request to your certificate authority, never the key; when the answer is here:\n"
        f"  {_before(directory)}accesspoint cert import {role} FILE{as_option(config)}\n"
    )
    return ExitStatus.OK


def import_(role: Role, file: Path, config: Path | None, *, passphrase_file: Path | None) -> int:
    """Take the answer; the exit status."""
    configuration = load_given(find_config(config))
    bundle = read_answer(file, passphrase_file)
    now = SystemClock().now()
    try:
        rotation.finish_due(configuration.keys.directory, now)
        chain = rotation.chain_for(configuration.keys.directory, role, bundle)
        _require_trusted(
            configuration,
            Shown(str(role), chain, USES[role], ours=True),
            max(now, chain[0].not_valid_before_utc),
            may_be_unknown=True,
        )
        taken = rotation.import_answer(configuration.keys.directory, role, bundle)
    except KeysError as error:
        raise _refused(error, role) from error
    sys.stdout.write(f"{plain(describe(taken.certificates[0]))}\n")
    sys.stdout.write(f"  {describe_whole(taken.certificates[0], now)['remaining']}\n")
    if taken.age is Age.ACTIVE:
        sys.stdout.write(f"  it is the first {role} certificate, so it is active\n")
        return ExitStatus.OK
    is_tls = Usage.TLS_CLIENT in USES[role]
    sys.stdout.write(
        f"  it is the next {role} certificate; {_OPENS if _decrypts(role) else _NOT_YET}\n"
        f"next: {_TELL_TLS if is_tls else _TELL}, then  "
        f"{_before(configuration.keys.directory)}accesspoint cert rotate {role}{as_option(config)}   (or --at TIME)\n"
    )
    return ExitStatus.OK


def rotate(
    role: Role, config: Path | None, *, at: str | None, finish: bool, anyway: bool = False
) -> int:
    """Switch, or say when, or remove what is left; the exit status."""
    configuration = load_given(find_config(config))
    directory = configuration.keys.directory
    now = SystemClock().now()
    if finish and at is not None:
        raise ProblemRaised("usage", detail="--finish is done now; --at belongs to the switch")
    if anyway and not finish:
        raise ProblemRaised("usage", detail="--anyway belongs to --finish")
    if finish:
        return _finish(directory, role, now, anyway=anyway)
    try:
        # A moment that is just over is this one: it is kept as that of the switch.
        when = now if at is None else max(now, _time(at, now))
        if (waiting := named(configuration, f"{role}.{Age.NEXT}", now)) is not None:
            # What is known of revocation holds for today; a later day has its own.
            _require_trusted(configuration, waiting, when, may_be_unknown=when > now)
        following = rotation.schedule(directory, role, when)
        with locked(directory):
            rotation.promote_due(directory, now)
    except KeysError as error:
        raise _refused(error, role) from error
    name = plain(describe(following.certificates[0]))
    if when <= now:
        # Done here, or a moment earlier by the node that runs.
        sys.stdout.write(
            f"active: {name}\n  {_REMAINS if _decrypts(role) else _REMAINS_UNUSED}:\n"
            f"  {_before(directory)}accesspoint cert rotate {role} --finish{as_option(config)}\n"
        )
    else:
        sys.stdout.write(f"from {when.astimezone(UTC):%Y-%m-%d %H:%M} UTC on: {name}\n")
    return ExitStatus.OK


def _finish(directory: Path, role: Role, now: datetime, *, anyway: bool) -> int:
    """Remove the previous pair, when its time is over or anyway; the exit status."""
    try:
        rotation.finish_due(directory, now)
        if not anyway:
            _require_settled(directory, role, now)
        gone = rotation.finish(directory, role)
    except KeysError as error:
        raise _refused(error, role) from error
    sys.stdout.write(f"removed: {plain(describe(gone.certificates[0]))}\n")
    if _decrypts(role):
        sys.stdout.write("  what is encrypted for it can be opened no more\n")
    return ExitStatus.OK


def _before(directory: Path) -> str:
    """What a further command needs before it, to be about the same directory as this one."""
    return with_keys(directory) if KEYS_DIRECTORY in os.environ else ""


def _decrypts(role: Role) -> bool:
    return Usage.ENCRYPTION in USES[role]


def _require_settled(directory: Path, role: Role, now: datetime) -> None:
    """Refuse to remove a pair that partners may still encrypt for; raises ProblemRaised, KeysError."""
    if not has_key(directory, f"{role}.{Age.PREVIOUS}") or not _decrypts(role):
        return
    since = rotation.switched(directory, role)
    if since is not None and now - since >= _SETTLED:
        return
    when = (
        "when the switch was is not known"
        if since is None
        else f"the switch was {since:%Y-%m-%d %H:%M} UTC"
    )
    raise ProblemRaised(
        # Where nobody noted the switch, no moment will come.
        "certificate-import" if since is None else "rotation-finished-too-early",
        role=role,
        until=since and f"{since + _SETTLED:%Y-%m-%d %H:%M} UTC",
        what=f"The previous {role} pair is kept for two days, and {when}: partners and directories may still name"
        " its certificate, and what they encrypt for it could be opened no more; --anyway removes it nevertheless",
    )


def _require_trusted(
    configuration: Configuration, shown: Shown, at: datetime, *, may_be_unknown: bool
) -> None:
    """Refuse a pair that we would refuse of others: partners, who judge alike, would refuse all that is made with it.

    Nothing is asked of messages where the configuration trusts nobody for them. Raises ProblemRaised, KeysError.
    """
    trust = configuration.trust
    uses = tuple(
        one for one in shown.uses if PURPOSES[one] is Purpose.TLS or trust.message is not None
    )
    for one in asyncio.run(
        judge_all(configuration, shown, uses, at=at, may_be_unknown=may_be_unknown)
    ):
        if not one.trusted:
            raise ProblemRaised(
                "certificate-import",
                what=f"{plain(describe(shown.leaf))} is not trusted to {WORDS[one.usage]}: {one.why} ({one.problem})",
            )


def _require_free(out: Path) -> None:
    """Refuse to put a copy of the request where something else stands; an earlier request may go. Raises ProblemRaised."""
    if out.is_file() and (found := out.read_bytes()) and _REQUEST not in found:
        raise ProblemRaised(
            "certificate-import",
            what=f"{out} is something else than a request, and is not overwritten",
        )


def _refused(error: KeysError, role: Role) -> ProblemRaised:
    slug = _CERTAIN.get(error.reason, "certificate-import")
    return ProblemRaised(slug, what=plain(error.detail), role=role)


def _time(text: str, now: datetime) -> datetime:
    try:
        # A time without an offset is one of this machine.
        at = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ProblemRaised(
            "usage", detail="--at wants a time such as 2026-12-01T06:00+01:00"
        ) from error
    if at < now - _GRACE:
        # Most likely it is mistyped, and a switch has no way back.
        raise ProblemRaised(
            "usage",
            detail=f"--at is {at:%Y-%m-%d %H:%M} UTC, which is over; leave --at out to switch now",
        )
    return at


def _subject(given: _Subject | None) -> x509.Name | None:
    """The subject of an OCES system certificate; the authority may replace the UUID, and mostly does."""
    if given is None:
        return None
    name, organisation, cvr, uuid = given
    if (
        not name
        or not organisation
        or cvr is None
        or len(cvr) != 8
        or not (cvr.isascii() and cvr.isdigit())
    ):
        raise ProblemRaised(
            "usage",
            detail="--common-name, --organisation and the eight digits of --cvr are given together, and --uuid only with"
            " them; without any of them the subject is that of the active certificate",
        )
    return system_name(name, organisation, cvr, uuid or "00000000-0000-0000-0000-000000000000")
