"""The assertions of the conformance kit against phase4, over the wire, both ways; the reports are kept in `build/`.

phase4 is a library: what it leaves to the application around it is here the small peer program of these tests. What
differs from a pass stands in `KNOWN` with its reason, so that a change on either side is noticed.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from accesspoint.conformance import report_html, report_json, report_markdown
from accesspoint.conformance.assertion import Role
from accesspoint.conformance.case import Status
from accesspoint.conformance.partner import Description, PartnerTarget
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.runner import Run, choose, run
from accesspoint.conformance.target import Delivery
from accesspoint.toml import write_toml
from keys.store import write_certificates, write_keystore

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(900)]
KEPT = Path(__file__).parents[2] / "build" / "conformance-phase4"
TLS = {f"AS4_CP_TA{number}" for number in range(39, 44)}
"""They judge the Jetty around it, not phase4."""
KNOWN = {
    "TA10": (Status.FAIL, "a repetition gets an ebMS error, not the receipt once more; our sender knows (UNCERTAIN)"),
    "TA14": (Status.WAITING, "the peer program does not begin an exchange by itself"),
    "TA17": (Status.FAIL, "the library gives a ping to its processors like any message; leaving it out is theirs"),
    "TA31": (Status.WAITING, "the peer program tells nobody of what it refused; the error itself is held"),
    "TA34": (Status.NOT_APPLICABLE, "the profile of the peer program always encrypts"),
}  # fmt: skip


class Phase4Target(PartnerTarget):
    """phase4, whose inbox tells what it delivered."""

    def __init__(self, description: Description, peer: Any) -> None:
        super().__init__(description)
        self._peer = peer
        self._inbox: list[dict[str, Any]] = []

    async def deliveries(self, message_id: str, recorder: Recorder) -> Sequence[Delivery]:
        while not self._peer.silent():
            line = self._peer.listen()
            recorder.received(
                "told by the inbox of phase4", "application/json", json.dumps(line).encode()
            )
            self._inbox.append(line)
        return [
            Delivery({}, tuple(Path(one["file"]).read_bytes() for one in line["payloads"]))
            for line in self._inbox
            if line.get("received") == message_id
        ]


def describe(tmp_path: Path, authority: Any, ours: Any, theirs: Any, **more: str) -> Description:
    """phase4 as the kit is told of it."""
    write_keystore(tmp_path / "keys", message=ours.issued, tls=ours.tls)
    write_certificates(tmp_path / "anchors.pem", [*authority.anchors, *authority.intermediates])
    values = {
        "name": "phase4",
        "certificate": str(theirs.certificate_file),
        "keys": "keys",
        "tls_anchors": ["anchors.pem"],
        "original_sender": "0088:5790000000012",
        "final_recipient": "0088:5790000000029",
        "corner_type": "iso6523-actorid-upis",
        **more,
    }
    path = tmp_path / "phase4.toml"
    path.write_text(write_toml(values), encoding="utf-8")
    return Description.load(path)


def keep(finished: Run, name: str) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    for ending, write in (
        ("html", report_html.write), ("json", report_json.write), ("md", report_markdown.write),
    ):  # fmt: skip
        (KEPT / f"{name}.{ending}").write_text(write(finished), encoding="utf-8")


def differing(finished: Run) -> dict[str, Status]:
    return {
        result.assertion.id.removeprefix("AS4_CP_"): result.status
        for result in finished.results
        if result.status not in (Status.PASS, Status.NOT_TESTABLE)
    }


async def test_receiver_assertions_hold_for_phase4(
    secure_phase4: Callable[..., Any],
    municipality: Any,
    clinic: Any,
    authority: Any,
    tmp_path: Path,
) -> None:
    peer, url = secure_phase4(clinic)
    description = describe(tmp_path, authority, municipality, clinic, url=url)
    chosen = [
        one
        for one in choose()
        if one.role is Role.RECEIVER and one.group == "Common Profile" and one.id not in TLS
    ]
    async with Phase4Target(description, peer) as target:
        finished = await run(target, chosen)
    keep(finished, "receiver")
    assert differing(finished) == {id_: status for id_, (status, _) in KNOWN.items()}


async def test_sender_assertions_hold_for_phase4(
    phase4_sender: Any,
    phase4_job: Any,
    municipality: Any,
    clinic: Any,
    authority: Any,
    tmp_path: Path,
) -> None:
    """What one message shows by itself; repeating and telling an application are not the library's."""
    description = describe(
        tmp_path,
        authority,
        clinic,
        municipality,
        url="https://127.0.0.1:1/as4",
        listen="127.0.0.1:0",
        service="urn:ehmi:sdn-emergence",
        service_type="process",
        action="deliver",
    )
    running: list[asyncio.Task[Any]] = []

    def send(text: str) -> None:
        job = phase4_job(text.rpartition(" ")[2], tls=municipality.tls_job)
        running.append(asyncio.create_task(asyncio.to_thread(phase4_sender.ask, job)))

    async with PartnerTarget(description) as target:
        target.ask = send
        shown = choose(["TA03", "TA05", "TA12", "TA13", "TA23", "TA24"])
        finished = await run(target, shown)
        answers = await asyncio.gather(*running)
    keep(finished, "sender")
    assert differing(finished) == {}
    assert [answer["result"] for answer in answers] == ["SUCCESS"], "our receipt was not taken"
