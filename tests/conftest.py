"""For every test: nothing leaves this machine, Hypothesis behaves the same everywhere, and the stage can be imported."""

import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))
pytest.register_assert_rewrite(
    "as4_arena", "as4_liar", "as4_peer", "as4_stage", "as4_wire", "path_checks", "seal_parts"
)

from in_memory import place  # noqa: E402 (it stands where the line above looks)

# A busy machine is no counter-example: no deadline. CI repeats the same examples each time.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=1_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# What runs in the background of a shell ignores Ctrl-C, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Keep what tests write in memory, except in the slow suites: some of those write more than a machine has."""
    if config.option.markexpr == "not slow" and (memory := place()) is not None:
        # Read by pytest's own fixtures of temporary directories, in the workers too.
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


class NetworkForbidden(RuntimeError):
    """A test tried to reach another machine."""


def _refuse_other_machines(address: object) -> None:
    if not isinstance(address, tuple) or not address:
        return  # Unix sockets, and what is no address, which the call itself refuses
    host = str(address[0]).partition("%")[0]
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise NetworkForbidden(f"tests reach loopback only, not {host}")


def _guarded(original: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, *arguments: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse_other_machines(arguments[-1] if arguments else None)
        return original(self, *arguments)

    return guarded


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Any:
    """Refuse to connect or send to anything but loopback, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        yield


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The authorities and access points of the stage."""
    from as4_stage import Pki

    return Pki(tmp_path_factory.mktemp("pki"))
