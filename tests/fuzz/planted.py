"""A target that breaks on purpose: a fuzzer that cannot find this one finds nothing."""

from tests.fuzz.targets import Target


def _feed(data: bytes) -> None:
    if data[:2] == b"FU":
        raise IndexError("planted")


PLANTED = {"planted": Target("planted", _feed, (), "octets")}
