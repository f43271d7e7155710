"""Holodeck B2B as a black box: it cannot be started from what the package registries hold, and its cells say why.

What its captured messages show is in test_other_products.py.
"""

import pytest

REASON = (
    "Holodeck B2B is in no package registry. Tried on 2026-11-21: Maven Central has no artifact of org.holodeckb2b "
    "(holodeckb2b-core 8.1.0, 7.0.1, 6.1.0, 5.3.1, 4.0.0; -interfaces 8.1.0, 7.0.0, 5.3.0; -ebms3as4 8.1.0, 7.0.1; "
    "-distribution 8.1.0; the parent POMs 8.1.0; oasis-smp-client 3.2.0), Debian, PyPI and npm have no package, and "
    "its POM names no repository of its own; the distribution is offered as a download only"
)


pytestmark = pytest.mark.matrix(
    peer="Holodeck B2B", profile="eDelivery AS4 1.15", case="live exchange"
)


@pytest.mark.matrix(direction="peer to us")
def test_holodeck_sends_to_us() -> None:
    pytest.skip(REASON)


@pytest.mark.matrix(direction="us to peer")
def test_we_send_to_holodeck() -> None:
    pytest.skip(REASON)
