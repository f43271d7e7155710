"""What a process that holds keys and payloads asks of its system before it opens anything.

No file that it makes can be read by others, whatever whoever started it had set; it leaves no core file, which
would hold keys and payloads in the clear; and it was not handed a key among its arguments, where every
process of the machine could read it.

Spec: hostile SEC-02, SEC-04 and SEC-07.
"""

import os
import resource
from collections.abc import Sequence
from typing import Final

UMASK: Final = 0o077
_PRIVATE_KEY: Final = "PRIVATE KEY-----"


class ProcessUnsafe(Exception):
    """The process could not be made safe, or was started in a way that gave a secret away; nothing was started."""


def protect() -> None:
    """Set the umask to 077 and the largest core file to nothing, for good and for what this process starts.

    Raises: ProcessUnsafe when the system does not hold to it.
    """
    os.umask(UMASK)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.umask(UMASK) != UMASK or resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        raise ProcessUnsafe("umask 077 and core files of no size could not be set")


def refuse_keys_among(arguments: Sequence[str]) -> None:
    """Refuse arguments that hold a private key.

    Raises: ProcessUnsafe, which does not repeat it.
    """
    if any(_PRIVATE_KEY in argument for argument in arguments):
        raise ProcessUnsafe(
            "a private key was given as an argument, where others could read it: do not use it any more, "
            "make a new one, and name its file"
        )
