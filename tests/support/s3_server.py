"""An S3 server of our own on loopback: moto's, with one empty bucket for whoever asks."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def s3_server(*buckets: str) -> Iterator[str]:
    """Run the server for the length of the context and yield its address, or skip the test with the reason."""
    pytest.importorskip("obstore", reason="the extra 's3' is not installed")
    package = pytest.importorskip("moto.server", reason="moto's server is not installed")
    server = package.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    try:
        for name in buckets:
            make_bucket(address, name)
        yield address
    finally:
        server.stop()


def make_bucket(address: str, name: str) -> None:
    """Make an empty bucket."""
    urllib.request.urlopen(urllib.request.Request(f"{address}/{name}", method="PUT")).close()
