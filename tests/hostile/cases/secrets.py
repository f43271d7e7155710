"""Secrets and files at rest: keys that others may read, payloads in the clear, and what a copy gives away."""

from typing import Final

from tests.hostile.cases import Case

CASES: Final = (
    Case("SEC-01", "a key file that its group or the world may read", expected="the node does not start"),
    Case("SEC-02", "a key or a passphrase in the environment or among the arguments",
         expected="refused without printing it"),
    Case("SEC-03", "the passphrase of a key from a file or a systemd credential", expected="it opens the key"),
    Case("SEC-04", "a umask, a store or a spool that others may read",
         expected="files are 0600 and directories 0700, whatever the umask was"),
    Case("SEC-05", "somebody has the disk: database, payloads and spool",
         expected="no octet of a payload is there in the clear, and without its data key it is gone"),
    Case("SEC-06", "somebody watches the temporary files while messages pass",
         expected="nothing of a payload stands outside the encrypted store"),
    Case("SEC-07", "the process dies and its memory is written to a core file", expected="no core file is written"),
    Case("SEC-08", "somebody has the backup", expected="no key is in it that opens anything"),
)  # fmt: skip
