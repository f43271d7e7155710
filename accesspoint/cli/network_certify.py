"""`accesspoint network certify`: the authority of a network in miniature answers a request for a certificate.

So that everything that `accesspoint cert` does can be tried before an authority that costs money is asked. It knows no
clients and looks at no papers.
"""

import sys
from pathlib import Path

from accesspoint.cli.current import current_nodes, place_of
from accesspoint.clock import SystemClock
from accesspoint.demo.scenery import BACKDATED
from accesspoint.problems import ExitStatus, ProblemRaised
from keys.certificate import describe
from keys.errors import KeysError
from keys.request import read_request
from keys.store import load_authority, write_certificates

_LARGEST = 64 * 1024


def run(request: Path, *, out: Path, directory: Path | None) -> int:
    """Write the certificate with its chain; the exit status.

    Raises ProblemRaised for a request that cannot be read, or where something else stands under `out`; KeyStoreError
    where no authority is.
    """
    if out.exists() and b"BEGIN CERTIFICATE-----" not in out.read_bytes():
        raise ProblemRaised(
            "certificate-unreadable", file=out, what="it is something else, and is not overwritten"
        )
    try:
        with request.open("rb") as file:
            asked = read_request(file.read(_LARGEST))
    except OSError as error:
        raise ProblemRaised("file-unreadable", file=request, what=error.strerror) from error
    except KeysError as error:
        raise ProblemRaised("request-unreadable", file=request, what=error.detail) from error
    authority = load_authority((directory or place_of(current_nodes())) / "authority")
    try:
        chain = authority.certify(asked, not_before=SystemClock().now() - BACKDATED)
    except (KeysError, ValueError) as error:
        raise ProblemRaised("request-unreadable", file=request, what=str(error)) from error
    write_certificates(out, chain)
    sys.stdout.write(f"{out}: {describe(chain[0])}\n  it counts in this network only\n")
    return ExitStatus.OK
