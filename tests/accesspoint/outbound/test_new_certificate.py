"""The partner changes its certificate while messages are on their way, and the directory knows before our memory does."""

import base64
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from as4_parts import directory_of
from as4_peer import Answers, Arrived, answered
from cryptography import x509
from outbound_steps import pass_time, until_attempt, until_state

from accesspoint.demo.scenery import CLINIC
from accesspoint.discovery.cache import CachedDirectory
from accesspoint.discovery.directory import Endpoint, LookupFailed, LookupProblem
from accesspoint.retry import RetrySchedule
from accesspoint.stations import Bell
from accesspoint.store.database import Row
from envelope import codes
from keys.certificate import subject_key_identifier
from keys.devca import IssuedCertificate

if TYPE_CHECKING:
    from .conftest import Outbound


EVERY_SECOND = RetrySchedule(timedelta(seconds=1), 1.0, timedelta(seconds=1), timedelta(hours=1))


@dataclass
class Changing:
    """A clinic that changed its key this minute, and the directory in which it says so."""

    outbound: "Outbound"
    old: IssuedCertificate
    new: IssuedCertificate
    published: x509.Certificate = field(init=False)
    away: bool = False
    asked: int = 0
    old_key_used: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.published = self.old.certificate

    async def find_endpoint(self, participant: str, document_id: str, process_id: str) -> Endpoint:
        self.asked += 1
        if self.away:
            raise LookupFailed(LookupProblem.UNREACHABLE, "planted", permanent=False)
        directory = directory_of(self.outbound.server.url, self.published)
        return await directory.find_endpoint(participant, document_id, process_id)

    @property
    def remembered(self) -> CachedDirectory:
        return CachedDirectory(self, clock=self.outbound.parts.clock)

    def is_for_old_key(self, arrived: Arrived) -> bool:
        identifier = base64.b64encode(subject_key_identifier(self.old.certificate))
        self.old_key_used.append(identifier in arrived.body)
        return self.old_key_used[-1]

    def receipt(self, arrived: Arrived) -> web.StreamResponse:
        return answered(Answers(self.new.signer()).receipt(arrived))

    def cannot_decrypt(self, arrived: Arrived, *, signer: IssuedCertificate | None) -> web.Response:
        answers = Answers((signer or self.old).signer())
        error = answers.error(
            codes.FAILED_DECRYPTION,
            message_id=arrived.message_id if signer else None,
            signed=signer is not None,
        )
        return answered(error)


@pytest.fixture
def changing(outbound: "Outbound") -> Changing:
    pki = outbound.pki
    return Changing(outbound, pki.clinic, pki.certify(CLINIC.access_point, serial=817))


async def drive(changing: Changing) -> Row:
    """Send one message with the old certificate in memory, and once more where it may come again."""
    outbound = changing.outbound
    id_ = await outbound.accept()
    async with outbound.running(outbound.sender(directory=changing.remembered)):
        row = await until_state(outbound, id_, "RETRY_WAIT", "REFUSED", "NOTIFIED", "ACKNOWLEDGED")
        if row["state"] == "RETRY_WAIT":
            await pass_time(outbound, 10)
            row = await until_state(outbound, id_, "REFUSED", "NOTIFIED", "ACKNOWLEDGED")
    return row


@pytest.mark.attack("KEY-19")
@pytest.mark.parametrize("says", ["signed with the old key", "signed with the new key", "unsigned"])
async def test_what_cannot_be_decrypted_is_encrypted_for_the_new_certificate(
    changing: Changing, says: str
) -> None:
    signer = {"signed with the old key": changing.old, "signed with the new key": changing.new}

    async def behave(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        if changing.is_for_old_key(arrived):
            changing.published = changing.new.certificate
            return changing.cannot_decrypt(arrived, signer=signer.get(says))
        return changing.receipt(arrived)

    changing.outbound.server.behaviour = behave
    assert (await drive(changing))["state"] == "ACKNOWLEDGED"
    assert changing.old_key_used == [True, False]
    first, last = changing.outbound.server.arrived
    assert (first.message_id, first.references) == (last.message_id, last.references)


@pytest.mark.attack("KEY-19")
@pytest.mark.parametrize("renewed", [True, False])
async def test_a_receipt_by_the_new_certificate_counts_once_the_directory_names_it(
    changing: Changing, renewed: bool
) -> None:
    """It could open the message with either key, and signs with the new one; of the same subject it counts at once."""
    if not renewed:
        changing.new = changing.outbound.pki.namesake(CLINIC.access_point)

    async def behave(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        changing.is_for_old_key(arrived)
        changing.published = changing.new.certificate
        return changing.receipt(arrived)

    changing.outbound.server.behaviour = behave
    assert (await drive(changing))["state"] == "ACKNOWLEDGED"
    assert changing.old_key_used == ([True] if renewed else [True, False])


async def test_a_partner_that_did_not_change_has_refused(changing: Changing) -> None:
    """The directory was asked, and names the certificate that we used: the partner's word is final."""

    async def behave(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        changing.is_for_old_key(arrived)
        return changing.cannot_decrypt(arrived, signer=changing.old)

    changing.outbound.server.behaviour = behave
    row = await drive(changing)
    assert (row["state"], row["problem"]) == ("REFUSED", "peer-refused")
    assert (changing.asked, changing.old_key_used) == (2, [True])


@pytest.mark.attack("KEY-19")
async def test_a_partner_that_signs_with_a_renewed_certificate_has_not_refused_though_the_directory_is_behind(
    changing: Changing,
) -> None:
    async def behave(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        if len(changing.outbound.server.arrived) > 1:
            changing.published = changing.new.certificate
        if changing.is_for_old_key(arrived):
            return changing.cannot_decrypt(arrived, signer=changing.new)
        return changing.receipt(arrived)

    outbound = changing.outbound
    outbound.server.behaviour = behave
    id_ = await outbound.accept()
    sender = outbound.sender(directory=changing.remembered, schedule=EVERY_SECOND)
    async with outbound.running(sender):
        await until_state(outbound, id_, "RETRY_WAIT")
        await pass_time(outbound, 1)
        while len(outbound.server.arrived) < 2:
            await outbound.parts.bells.wait(Bell.JOURNAL, at_most_seconds=0.05)
        await until_state(outbound, id_, "RETRY_WAIT")
        await pass_time(outbound, 1)
        await until_state(outbound, id_, "ACKNOWLEDGED")
    assert changing.old_key_used == [True, True, False]


@pytest.mark.attack("KEY-19")
async def test_while_the_directory_is_away_nothing_goes_out_for_a_doubtful_certificate(
    changing: Changing,
) -> None:
    outbound = changing.outbound

    async def behave(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        if changing.is_for_old_key(arrived):
            changing.published, changing.away = changing.new.certificate, True
            return changing.cannot_decrypt(arrived, signer=changing.new)
        return changing.receipt(arrived)

    outbound.server.behaviour = behave
    id_ = await outbound.accept()
    sender = outbound.sender(directory=changing.remembered, schedule=EVERY_SECOND)
    async with outbound.running(sender):
        row = await until_state(outbound, id_, "RETRY_WAIT")
        for _ in range(2):
            asked = changing.asked
            await pass_time(outbound, 1)
            row = await until_attempt(outbound, id_, row["attempt"] + 1)
            assert changing.asked > asked
        assert changing.old_key_used == [True]
        changing.away = False
        await pass_time(outbound, 1)
        await until_state(outbound, id_, "ACKNOWLEDGED")
    assert changing.old_key_used == [True, False]
