"""The whole EHMI exchange in the newer generations, found through locator and publisher by the transport profile."""

import pytest
from command_line import Home

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("generation", "stations"), [("2.0", "together"), ("2.0-p256", "apart")], ids=str
)
def test_the_demo_holds_in_a_newer_generation(
    tmp_path_factory: pytest.TempPathFactory, generation: str, stations: str
) -> None:
    home = Home(tmp_path_factory.mktemp("demo"))
    status, command = home.run("demo", "--generation", generation, "--stations", stations)
    assert status == 0, command.out
    assert f"throw-away certificates, eDelivery AS4 {generation}\n" in command.out
    assert "✓ AS4: the receipt was signed by the access point the SMP named" in command.out
    assert "every step held" in command.out
    assert "✗" not in command.out


@pytest.mark.parametrize(
    ("step", "status", "problem"),
    [
        ("receiver-revoked", 7, "certificate-revoked"),
        ("sender-revoked", 4, "peer-refused-signature"),
    ],
)
def test_a_revoked_certificate_is_found_in_a_newer_generation_too(
    tmp_path_factory: pytest.TempPathFactory, step: str, status: int, problem: str
) -> None:
    home = Home(tmp_path_factory.mktemp("demo"))
    ended, command = home.run("demo", "--generation", "2.0", "--break", step)
    assert ended == status, command.out
    assert problem in command.out
