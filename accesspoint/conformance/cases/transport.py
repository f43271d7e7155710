"""Transport layer security: what the target's server answers to ClientHellos made by hand, and to one whole exchange.

Which versions and suites a server takes is decided by its first answer, so nothing is negotiated further, and the
libraries of today, which offer neither SSL nor weak suites, are not asked.
"""

import os
import ssl
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from accesspoint.config_trust import Tls
from accesspoint.conformance.author import Draft
from accesspoint.conformance.case import case, expect
from accesspoint.conformance.client_hello import (
    ACCEPTABLE,
    LEGACY,
    MODERN,
    UNACCEPTABLE,
    Accepted,
    Alerted,
    Closed,
    Offer,
    Version,
    offer,
)
from accesspoint.conformance.line import Line
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.target import Target

_PORT: Final = 443
_TLS_1_2_ONLY: Final = "ECDHE+AESGCM"
_ONE_SUITE: Final = ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384")
"""AES-256 with either kind of certificate, by OpenSSL's names."""
_AES_256: Final = tuple(name for name in ACCEPTABLE if "_AES_256_" in name)
_AES_128: Final = tuple(name for name in ACCEPTABLE if "_AES_128_" in name)


async def _offer(
    endpoint: str, version: Version, suites: Sequence[str], recorder: Recorder
) -> Offer:
    where = urlsplit(endpoint)
    made = await offer(
        where.hostname or "", where.port or _PORT, version, suites, random=os.urandom(32)
    )
    offered = ", ".join(suites) or "the suites of SSL 2"
    recorder.sent(f"ClientHello of {version}", f"{offered}\n{made.sent.hex(' ')}", made.sent)
    recorder.received(
        f"answer to {version}", f"{made.answer}\n{made.received.hex(' ')}", made.received
    )
    return made


async def _expect_refused(
    endpoint: str, version: Version, suites: Sequence[str], recorder: Recorder
) -> str:
    answer = (await _offer(endpoint, version, suites, recorder)).answer
    expect(
        isinstance(answer, Alerted | Closed),
        f"{version} refused by an alert or an end",
        f"{answer}",
    )
    return f"{version}: {answer}"


async def _expect_accepted(
    endpoint: str, version: Version, suites: Sequence[str], recorder: Recorder
) -> str:
    answer = (await _offer(endpoint, version, suites, recorder)).answer
    expect(
        isinstance(answer, Accepted) and answer.version is version,
        f"{version} with one of {', '.join(suites)}",
        f"{answer}",
    )
    return f"{version}: {answer}"


@case("AS4_CP_TA39")
async def tls_can_be_configured(target: Target, recorder: Recorder) -> str:
    """The same server, once for TLS 1.3 alone, once with other suites of TLS 1.2."""
    seen = []
    async with target.reconfigured(Tls(minimum="1.3")) as endpoint:
        seen.append(await _expect_refused(endpoint, Version.TLS_1_2, ACCEPTABLE, recorder))
        seen.append(await _expect_accepted(endpoint, Version.TLS_1_3, MODERN, recorder))
    async with target.reconfigured(Tls(ciphers=_ONE_SUITE)) as endpoint:
        seen.append(await _expect_refused(endpoint, Version.TLS_1_2, _AES_128, recorder))
        seen.append(await _expect_accepted(endpoint, Version.TLS_1_2, _AES_256, recorder))
    return "; ".join(seen)


@case("AS4_CP_TA40")
async def tls_1_0_and_1_1_are_refused(target: Target, recorder: Recorder) -> str:
    """Each alone, with every suite that they know."""
    old = (Version.TLS_1_0, Version.TLS_1_1)
    return "; ".join([await _expect_refused(target.endpoint, one, LEGACY, recorder) for one in old])


@case("AS4_CP_TA41")
async def ssl_is_refused(target: Target, recorder: Recorder) -> str:
    """SSL 2 and SSL 3."""
    seen = await _expect_refused(target.endpoint, Version.SSL_2, (), recorder)
    return f"{seen}; {await _expect_refused(target.endpoint, Version.SSL_3, LEGACY, recorder)}"


@case("AS4_CP_TA42")
async def weak_suites_are_refused(target: Target, recorder: Recorder) -> str:
    """TLS 1.2 with suites that lack forward secrecy, authenticated encryption, or encryption."""
    return await _expect_refused(target.endpoint, Version.TLS_1_2, UNACCEPTABLE, recorder)


@case("AS4_CP_TA43")
async def good_suites_are_accepted(target: Target, recorder: Recorder) -> str:
    """TLS 1.2 with suites that the profile names: the hello is taken, and a message answered with 2xx."""
    taken = await _expect_accepted(target.endpoint, Version.TLS_1_2, ACCEPTABLE, recorder)
    context = target.tls_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS_1_2_ONLY)
    async with Line(target.endpoint, context) as line:
        request = target.author.write(target.agreed(Draft()))
        answer = await line.send(request, recorder, "message over TLS 1.2")
    expect(200 <= answer.status < 300, "a 2xx status", answer.describe())
    return f"{taken}; {answer.describe()}"
