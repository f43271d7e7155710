"""Configured partners answer first; others are the next directory's affair."""

from typing import Any

import pytest

from accesspoint.discovery.directory import HopKind, LookupFailed, LookupProblem
from accesspoint.discovery.static import StaticDirectory, StaticPartner

PARTNER = StaticPartner("havnegade", "5790009990027", "https://127.0.0.1/as4", b"certificate")


async def test_a_configured_partner_needs_no_look_up(scripted: Any) -> None:
    directory = StaticDirectory([PARTNER], otherwise=scripted)

    endpoint = await directory.find_endpoint("0088:5790009990027", "document", "process")

    assert (endpoint.url, endpoint.certificate) == (PARTNER.url, b"certificate")
    assert (endpoint.document_id, endpoint.process_id) == ("document", "process")
    assert endpoint.hops[0].kind is HopKind.STATIC
    assert scripted.asked == []


async def test_others_are_asked_of_the_next_directory(scripted: Any) -> None:
    directory = StaticDirectory([PARTNER], otherwise=scripted)

    await directory.find_endpoint("0088:5790009990010", "document", "process")

    assert scripted.asked == [("0088:5790009990010", "document", "process")]


async def test_without_a_next_directory_others_do_not_exist() -> None:
    with pytest.raises(LookupFailed) as failed:
        await StaticDirectory([]).find_endpoint("0088:5790009990010", "document", "process")

    assert failed.value.slug is LookupProblem.NO_PARTICIPANT
    assert failed.value.permanent


def test_two_partners_with_one_gln_are_refused() -> None:
    twin = StaticPartner("twin", PARTNER.gln, PARTNER.url, b"")

    with pytest.raises(ValueError, match="havnegade and twin"):
        StaticDirectory([PARTNER, twin])
