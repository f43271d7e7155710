"""Keeps revocation data fresh in the background: lists, answers of responders, and files that somebody brings.

No message ever waits for any of it. Addresses come from configuration only: a certificate may choose among the
configured responders, and never add one. Where networks are named, connections go there only. What was fetched is
kept in a directory as well, so that a node which starts while an issuer is away begins with what it knew, stale or
not: what was revoked stays revoked, and policy decides about the rest. A kept answer is taken up when its certificate
is asked about for the first time, before the question is answered.

Spec: hostile.md 1.7 (KEY-05), 1.16 (DSC-03, DSC-09, DSC-10).
"""

import asyncio
import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import aiohttp
import structlog
from cryptography import x509

from accesspoint.bounded import AnswerTooLong, read_bounded
from accesspoint.clock import Clock
from accesspoint.file_stamp import Stamp, stamp_of
from accesspoint.networks import AllowedNetworks
from keys import ocsp
from keys.certificate import fingerprint
from keys.crl import MAX_CRL_BYTES, CrlStore
from keys.errors import CrlRefused, KeysError, OcspRefused
from keys.ocsp import OcspStore, Watched

REFRESH: Final = timedelta(minutes=10)
RETRY: Final = timedelta(seconds=2)
"""What failed is tried again after this, and files and certificates are looked at, whether there are new ones."""
SECONDS: Final = 10.0
AGAIN: Final = timedelta(minutes=1)
"""What was refused is fetched again after this, and a certificate asked about again that has no answer."""
_AHEAD: Final = timedelta(hours=1)
"""An answer that ends sooner than this is asked for again."""
_UNASKED: Final = "ocsp.certificate"
_NOTHING_NEW: Final = frozenset({"crl.older", "ocsp.older", _UNASKED})
"""Refusals of what is older than what is at hand, or about a certificate that nobody asked about yet."""
_ANYWHERE: Final = ("0.0.0.0/0", "::/0")
_log = structlog.get_logger("accesspoint.trust")


@dataclass(frozen=True, slots=True)
class Known:
    """One list or answer at hand, for people: `kind` is `crl` or `ocsp`."""

    kind: str
    issuer: str
    this_update: datetime
    next_update: datetime
    entries: int = 1

    def sentence(self, at: datetime) -> str:
        """How old it is and when it ends."""
        age, left = at - self.this_update, self.next_update - at
        end = (
            f"good for another {_span(left)}"
            if left > timedelta(0)
            else f"RAN OUT {_span(-left)} ago"
        )
        what = f"list of {self.entries} entries" if self.kind == "crl" else "OCSP answer"
        return f"{what} of {self.issuer}: {_span(age)} old, {end}"


class RevocationRefresher:
    """Keeps a revocation store fresh from configured addresses only; never from an address a stranger wrote."""

    def __init__(
        self,
        crls: CrlStore,
        urls: Iterable[str],
        *,
        clock: Clock,
        answers: OcspStore | None = None,
        responders: Iterable[str] = (),
        files: Iterable[Path] = (),
        networks: Iterable[object] = (),
        cache: Path | None = None,
        keep: bool = True,
    ) -> None:
        """`answers` are kept fresh by `responders`; `networks` is where all addresses may be, none for anywhere.

        What is in `cache` is recalled; without `keep` nothing is written there, as for a command beside a node.
        """
        self._crls = crls
        self._urls = tuple(urls)
        self._clock = clock
        self._answers = answers
        self._responders = tuple(responders)
        self._files = tuple(files)
        self._networks = AllowedNetworks([str(one) for one in networks] or _ANYWHERE)
        self._cache = cache
        self._kept_in = cache if keep else None
        self._tried: dict[x509.Certificate, float] = {}
        # The lists that are not at hand, and from when on each is fetched again, by the monotonic clock.
        self._missing: dict[str, float] = {}
        self._seen: dict[Path, Stamp | None] = {}

    def recall(self) -> None:
        """Take up the lists that were fetched before the node ended, stale ones too."""
        if self._cache is None:
            return
        for path in sorted(self._cache.glob("*.crl")):
            with contextlib.suppress(KeysError, OSError):
                self._crls.add(path.read_bytes(), at=None)

    async def refresh(self) -> bool:
        """Fetch everything once that is due; answers whether all lists and files are at hand."""
        complete = await self.read_files()
        await self._fetch(self._urls, self._due(_AHEAD))
        return complete and not self._missing

    async def run(self) -> None:
        """Refresh for ever at the usual pace; soon again what failed alone, what ends, and what is new."""
        while True:
            await self.refresh()
            end = self._clock.monotonic() + REFRESH.total_seconds()
            # By the clock: an address that does not answer takes its time, which is not that of the others.
            while self._clock.monotonic() < end:
                await asyncio.sleep(RETRY.total_seconds())
                await self._take_files(self._changed())
                now = self._clock.monotonic()
                again = [url for url, at in self._missing.items() if at <= now]
                await self._fetch(again, self._due(AGAIN))

    async def _fetch(self, urls: Sequence[str], due: Sequence[Watched]) -> None:
        """Fetch lists, of which those that fail are noted for the next time, and ask about certificates."""
        if not urls and not due:
            return
        async with self._networks.open_session(seconds=SECONDS) as session:
            for url in urls:
                pause = await self._list(session, url)
                self._missing.pop(url, None)
                if pause is not None:
                    self._missing[url] = self._clock.monotonic() + pause
            for watched in due:
                await self._answer(session, watched)

    def known(self) -> Iterator[Known]:
        """Everything at hand."""
        for crl in self._crls.facts():
            yield Known("crl", crl.issuer, crl.this_update, crl.next_update, crl.entries)
        for one in self._answers.facts() if self._answers else ():
            yield Known("ocsp", one.issuer, one.this_update, one.next_update)

    async def _list(self, session: aiohttp.ClientSession, url: str) -> float | None:
        """Fetch one list; None where nothing is missing, else for how many seconds it is not asked for again."""
        try:
            async with session.get(url, allow_redirects=False) as response:
                response.raise_for_status()
                data = await read_bounded(response, MAX_CRL_BYTES)
            # A list of hundreds of thousands of entries takes seconds to read.
            facts = await asyncio.to_thread(self._crls.add, data, at=self._clock.now())
            # By what it is and not by where it came from: whoever stands between may send another authority's list.
            self._keep(f"{facts.place}.crl", data)
        except (aiohttp.ClientError, TimeoutError, AnswerTooLong, CrlRefused, OSError) as error:
            _log.warning("revocation_list_missing", url=url, error=type(error).__name__)
            if isinstance(error, CrlRefused) and error.reason in _NOTHING_NEW:
                # Of a list that is older than the one at hand nothing is missing.
                return None
            # What did not come may come at any time; what is no good is likely to be so again, and may be long.
            is_refused = isinstance(error, CrlRefused | AnswerTooLong)
            return AGAIN.total_seconds() if is_refused else 0.0
        return None

    def _due(self, ahead: timedelta) -> list[Watched]:
        """The certificates that nobody was asked about lately and whose answer is missing, or ends before `ahead` is over."""
        if self._answers is None or not self._responders:
            return []
        soon, found = self._clock.now() + ahead, []
        for one in self._answers.watched:
            end, tried = self._answers.end_of(one.certificate), self._tried.get(one.certificate)
            if tried is None or (
                (end is None or end < soon)
                and self._clock.monotonic() - tried >= AGAIN.total_seconds()
            ):
                found.append(one)
        return found

    async def _answer(self, session: aiohttp.ClientSession, watched: Watched) -> None:
        self._tried[watched.certificate] = self._clock.monotonic()
        while len(self._tried) > ocsp.WATCHED:
            self._tried.pop(next(iter(self._tried)))
        question = ocsp.build_request(watched.certificate, watched.issuer)
        for url in self._responders_of(watched.certificate):
            try:
                async with session.post(
                    url,
                    data=question,
                    headers={"Content-Type": "application/ocsp-request"},
                    allow_redirects=False,
                ) as response:
                    response.raise_for_status()
                    data = await read_bounded(response, ocsp.MAX_ANSWER_BYTES)
                if self._answers is not None:
                    self._answers.add(data, at=self._clock.now(), about=watched.certificate)
                    self._keep_answer(watched.certificate, data)
            except (aiohttp.ClientError, TimeoutError, AnswerTooLong, OSError) as error:
                _log.warning("revocation_answer_missing", url=url, error=type(error).__name__)
            except OcspRefused as refused:
                _log.warning("revocation_answer_missing", url=url, reason=refused.reason)
            else:
                return

    def _responders_of(self, certificate: x509.Certificate) -> tuple[str, ...]:
        """The configured responders that the certificate names; all of them where it names none."""
        named = set(ocsp.addresses(certificate))
        return tuple(url for url in self._responders if url in named) or (
            self._responders if not named else ()
        )

    async def read_files(self) -> bool:
        """Take up the files that somebody brings; answers whether each could be used."""
        return await self._take_files(self._files)

    def _changed(self) -> list[Path]:
        """The files that are others than when they were read, or that may be wanted by now."""
        return [path for path in self._files if self._seen.get(path) != stamp_of(path)]

    async def _take_files(self, paths: Iterable[Path]) -> bool:
        complete = True
        for path in paths:
            self._seen[path] = stamp_of(path)
            try:
                await self._take_either(path)
            except (OSError, KeysError) as error:
                reason = error.reason if isinstance(error, KeysError) else ""
                if reason == _UNASKED:
                    self._seen[path] = None
                if reason in _NOTHING_NEW:
                    continue
                complete = False
                _log.warning("revocation_file_missing", path=path.name, error=type(error).__name__)
        return complete

    async def _take_either(self, path: Path) -> None:
        data = await asyncio.to_thread(_read, path)
        try:
            await asyncio.to_thread(self._crls.add, data, at=self._clock.now())
        except CrlRefused as refused:
            if refused.reason != "crl.parse" or self._answers is None:
                raise
            # Not in a thread: these are small, and whoever asks about a certificate writes here as well.
            self._answers.add(data, at=self._clock.now())

    def _keep(self, name: str, data: bytes) -> None:
        """Keep a list or an answer for the next start; a disk that is full is told elsewhere."""
        if self._kept_in is None:
            return
        path = self._kept_in / name
        beside = path.with_suffix(".new")
        with contextlib.suppress(OSError):
            self._kept_in.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(
                beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600
            )
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            beside.replace(path)

    def _keep_answer(self, certificate: x509.Certificate, data: bytes) -> None:
        """Keep an answer for the next start, and of all no more than are held."""
        self._keep(_answer_name(certificate), data)
        if self._kept_in is None:
            return
        with contextlib.suppress(OSError):
            kept = sorted(self._kept_in.glob("*.ocsp"), key=lambda path: path.stat().st_mtime)
            for path in kept[: -ocsp.WATCHED]:
                path.unlink()


def recall_answer(cache: Path, certificate: x509.Certificate) -> bytes | None:
    """The answer about a certificate that was kept before the node ended; None where none can be read."""
    try:
        with (cache / _answer_name(certificate)).open("rb") as file:
            return file.read(ocsp.MAX_ANSWER_BYTES + 1)
    except OSError:
        return None


def _answer_name(certificate: x509.Certificate) -> str:
    return f"{fingerprint(certificate)[:32]}.ocsp"


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_CRL_BYTES + 1)


def _span(time: timedelta) -> str:
    for unit, seconds in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if (count := int(time.total_seconds() // seconds)) > 0:
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return "less than a minute"
