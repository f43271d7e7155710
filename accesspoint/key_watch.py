"""Takes up keys and certificates that change while the node runs: ours, and those of configured partners.

Key directories and certificate files are looked at every second, and at once on SIGHUP. What changed is read in a
thread, checked as at the start, and only then put in place, all of it between two steps of the event loop. A message
that is under way keeps the key it began with; an open connection keeps its certificate; nothing waits and nothing is
turned away. What was put in place stands in the audit log, later where the store does not take it at once.

What cannot be used changes nothing. It is told once, and read again when it changes, and every few seconds besides: a
disk that failed, or a hardware module that was away, comes back without any file looking different.

Spec: hostile KEY-18; reliability M4.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509

from accesspoint.certificates import due, key_holders
from accesspoint.clock import Clock
from accesspoint.config import Configuration, ConfigurationProblem, Station
from accesspoint.discovery.configured import static_partners
from accesspoint.discovery.static import StaticPartner
from accesspoint.file_stamp import Stamp, stamp_of
from accesspoint.generation import agreements_of
from accesspoint.identity import Agreements, Identity, holder_certificates, load_identity
from accesspoint.store.audit import record_audit
from accesspoint.store.database import Database, StorageBusy, StorageInterrupted, Transaction
from accesspoint.trust import common_name
from envelope.errors import EnvelopeError
from envelope.wsse import Signer
from keys.certificate import describe_key, fingerprint
from keys.errors import KeysError, KeyStoreError
from keys.private import KeyRing
from keys.rotation import promote_due
from keys.store import KeyStore, TlsFiles, locked
from keys.tls import check_pair, renew_pair

LOOK_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 10.0
"""What could not be used is read again after this, though nothing looks different: each time all keys are checked."""
DAY_SECONDS: Final = 86_400.0
_log = structlog.get_logger("accesspoint.keys")
_Signature = tuple[tuple[Path, Stamp], ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that was read, before any of it is in use."""

    keystore: KeyStore
    identity: Identity
    agreements: Agreements
    partners: dict[str, tuple[x509.Certificate, ...]]
    receivers: list[StaticPartner]
    neighbours: dict[str, tuple[x509.Certificate, ...]]
    """Who may seal hand-overs for each direction; what a neighbour hands over travels away from it."""


def load_keys(configuration: Configuration, clock: Clock) -> Loaded:
    """Read our keys, after every rotation that is due, and the certificates of partners; raises KeysError."""
    for directory in key_holders(configuration):
        with locked(directory):
            promote_due(directory, clock.now())
    keystore = KeyStore.load(configuration.keys.directory)
    agreements, partners = agreements_of(configuration, keystore)
    links = configuration.links
    return Loaded(
        keystore,
        load_identity(configuration, keystore, common_name),
        agreements,
        partners,
        static_partners(configuration) if Station.AP in configuration.stations.runs else [],
        {
            direction: holder_certificates(link.certificate)
            for direction, link in (("down", links.up), ("up", links.down))
            if link is not None
        },
    )


class KeyWatch:
    """Replaces what a running node works with; `taken` are told of each change, on the event loop."""

    def __init__(
        self,
        configuration: Configuration,
        first: Loaded,
        *,
        clock: Clock,
        database: Database,
        client_tls: ssl.SSLContext,
        server_tls: ssl.SSLContext,
        taken: Sequence[Callable[[Loaded], None]],
    ) -> None:
        self._configuration = configuration
        self._now = first
        self._clock = clock
        self._database = database
        self._tls = client_tls, server_tls
        self._taken = tuple(taken)
        self._asked = asyncio.Event()
        self._looking = asyncio.Lock()
        self._unsaid: list[tuple[datetime, str]] = []
        self._seen = self._signature()
        self._refused: str | None = None
        self._again_at = 0.0

    def look_now(self) -> None:
        """Read everything anew at once, whether it looks changed or not."""
        self._asked.set()

    async def run(self) -> None:
        """Look for ever, and tell once a day of certificates that end soon."""
        told: float | None = None
        while True:
            now = self._clock.monotonic()
            if told is None or now - told >= DAY_SECONDS:
                told = now
                for sentence in due(self._configuration, self._clock.now()):
                    _log.warning("certificate_ends", detail=sentence)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), LOOK_SECONDS)
            asked = self._asked.is_set()
            self._asked.clear()
            await self.look(asked=asked)

    async def look(self, *, asked: bool = False) -> bool:
        """Take up what changed; whether anything is in use now that was not before."""
        # One after another: of two that read at the same time, the earlier could put its older keys in place last.
        async with self._looking:
            try:
                return await self._look(asked=asked)
            finally:
                await self._audit()

    async def _look(self, *, asked: bool) -> bool:
        seen = self._signature()
        is_set = any(path.suffix == ".at" for path, _ in seen)
        changed, self._seen = asked or seen != self._seen, seen
        again = self._refused is not None and self._clock.monotonic() >= self._again_at
        try:
            switched = is_set and await asyncio.to_thread(self._promote)
            if not (changed or again or switched):
                return False
            if switched:
                self._seen = self._signature()
            loaded = await asyncio.to_thread(load_keys, self._configuration, self._clock)
            self._require_kinds(loaded.keystore)
            self._require_names(loaded)
            changes = list(_changes(self._now, loaded))
            if changes:
                self._take(loaded)
        except ConfigurationProblem as problem:
            self._refuse("; ".join(one.text for one in problem.findings), tell=changed)
            return False
        except (KeysError, EnvelopeError, ValueError, OSError) as error:
            self._refuse(str(error), tell=changed)
            return False
        self._refused = None
        if changes:
            _log.info("keys_changed", detail="; ".join(changes))
            now = self._clock.now()
            self._unsaid += [(now, change) for change in changes]
        return bool(changes)

    def _refuse(self, why: str, *, tell: bool) -> None:
        """Leave everything as it is for now; said with `tell`, and where it is not what was said last."""
        if tell or why != self._refused:
            _log.error("keys_not_taken", detail=why)
        self._refused = why
        self._again_at = self._clock.monotonic() + AGAIN_SECONDS

    def _promote(self) -> bool:
        done = False
        for directory in key_holders(self._configuration):
            with locked(directory):
                done |= bool(promote_due(directory, self._clock.now()))
        return done

    def _take(self, loaded: Loaded) -> None:
        """Put everything in place. What can fail comes first, and nothing else runs in between."""
        before = self._now.keystore
        client, server = self._tls
        pairs = [
            (context, new)
            for context, old, new in (
                (client, before.tls_client, loaded.keystore.tls_client),
                (server, before.tls, loaded.keystore.tls),
            )
            if old.certificate != new.certificate or old.chain != new.chain
        ]
        for _, new in pairs:
            check_pair(new.certificate_file, new.key_file)
        self._now.identity.take(loaded.identity)
        for context, new in pairs:
            renew_pair(context, new.certificate_file, new.key_file)
        for kept, read in (
            (self._now.partners, loaded.partners),
            (self._now.neighbours, loaded.neighbours),
        ):
            kept.clear()
            kept.update(read)
        self._now = replace(self._now, keystore=loaded.keystore, receivers=loaded.receivers)
        for tell in self._taken:
            tell(self._now)

    def _require_kinds(self, loaded: KeyStore) -> None:
        before = self._now.keystore
        pairs = ((before.tls, loaded.tls), (before.tls_client, loaded.tls_client))
        for old, new in pairs:
            if _kind(old) != _kind(new):
                raise KeyStoreError(
                    f"{new.key_file} is a key of another kind than before: that needs a restart"
                )

    def _require_names(self, loaded: Loaded) -> None:
        """Refuse partners of other names than before: agreements know those that the node started with."""
        if loaded.partners.keys() != self._now.partners.keys():
            raise KeyStoreError(
                "a partner's certificate has another common name: that needs a restart"
            )

    async def _audit(self) -> None:
        """Say what changed; where it is not known to be stored it is said again, twice rather than never."""
        said = tuple(self._unsaid)
        if not said:
            return

        async def work(tx: Transaction) -> None:
            for at, change in said:
                await record_audit(tx, at=at, actor="system", action="keys.changed", object=change)

        try:
            await self._database.run(work)
        except (StorageBusy, StorageInterrupted) as failure:
            _log.warning("keys_change_unsaid", error=type(failure).__name__)
        else:
            del self._unsaid[: len(said)]

    def _signature(self) -> _Signature:
        """What can be seen of all files without reading them."""
        return tuple((path, stamp_of(path)) for path in sorted(self._files()))

    def _files(self) -> Iterator[Path]:
        """Key directories with all that is in them, and the certificates of partners and neighbours."""
        configuration = self._configuration
        links = (configuration.links.up, configuration.links.down)
        yield from (one.certificate for one in configuration.partners.values() if one.certificate)
        yield from (link.certificate for link in links if link is not None)
        for directory in key_holders(configuration):
            yield directory
            with contextlib.suppress(OSError):
                yield from directory.iterdir()


def _changes(before: Loaded, after: Loaded) -> Iterator[str]:
    """What is another certificate now, or comes with others, in words for the log: roles, beginnings of fingerprints."""
    for role, old, new in (
        ("sign", _shown(*before.identity.signers), _shown(*after.identity.signers)),
        ("decrypt", _decrypting(before.identity), _decrypting(after.identity)),
        ("tls server", _shown(before.keystore.tls), _shown(after.keystore.tls)),
        ("tls client", _shown(before.keystore.tls_client), _shown(after.keystore.tls_client)),
    ):
        if old != new:
            yield f"{role}: {new}"
    for kind, old_ones, new_ones in (
        ("partner", before.partners, after.partners),
        ("neighbour", before.neighbours, after.neighbours),
    ):
        for name, certificates in new_ones.items():
            if certificates != old_ones.get(name):
                yield f"{kind} {name}: {_marks(certificates)}"


def _decrypting(identity: Identity) -> str:
    rings = [one.decrypter for one in (identity, *identity.hosted.values())]
    return _marks([one for ring in rings if isinstance(ring, KeyRing) for one in ring.certificates])


def _shown(*pairs: Signer | TlsFiles) -> str:
    """The certificates of pairs, each with those above it that go along: without these, partners may find no path."""
    return " ".join(
        _marks([one.certificate]) + (f" with {_marks(one.chain)}" if one.chain else "")
        for one in pairs
    )


def _marks(certificates: Sequence[x509.Certificate]) -> str:
    return " ".join(fingerprint(one)[:16] for one in certificates) or "none"


def _kind(files: TlsFiles) -> str:
    return describe_key(files.certificate).partition(" ")[0]
