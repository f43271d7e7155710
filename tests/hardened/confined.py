"""Run a program under the limits of the unit where systemd is not what starts it: as root, on Linux.

    python -m tests.hardened.confined STATE_DIRECTORY ACCOUNT_NUMBER PROGRAM [ARGUMENT ...]

What systemd does before it starts a service is done here with the same calls of the kernel: a mount namespace in which
everything but the state directory is read-only, no capability in any set, no privileges to be gained, no memory that is
both written and executed, the same filter of system calls and address families, the same resource limits. `APPLIED` names the
directives that are applied like this, `NOT_APPLIED` those that are not, and why; the tests hold both against the unit.
"""

import ctypes
import os
import resource
import socket
import subprocess
import sys
from typing import Final

from tests.hardened.unit_file import allowed_calls, directives

APPLIED: Final = frozenset(
    {
        "AmbientCapabilities", "CapabilityBoundingSet", "Group", "LimitCORE", "LimitMEMLOCK", "LimitNOFILE",
        "MemoryDenyWriteExecute", "NoNewPrivileges", "PrivateMounts", "ProtectSystem",
        "RestrictAddressFamilies", "RestrictNamespaces", "StateDirectory", "SystemCallErrorNumber", "SystemCallFilter", "UMask",
        "User", "WorkingDirectory",
    }
)  # fmt: skip
NOT_APPLIED: Final = {
    "of the manager": {
        "Type", "ExecStart", "Restart", "RestartSec", "KillSignal", "TimeoutStopSec", "StateDirectoryMode",
        "ConfigurationDirectory", "ConfigurationDirectoryMode",
    },
    "takes what the system call filter, the empty capability sets or the read-only tree take already": {
        "RestrictRealtime", "ProtectClock", "ProtectControlGroups", "ProtectHome", "ProtectHostname", "ProtectKernelLogs",
        "ProtectKernelModules", "ProtectKernelTunables", "SystemCallArchitectures",
    },
    "a filter of single arguments that is not rebuilt here, and of what nothing of ours calls": {
        "LockPersonality", "RestrictSUIDSGID",
    },
    "needs a manager: control groups, its own /proc, /dev and /tmp, tidying up": {
        "DevicePolicy", "KeyringMode", "PrivateDevices", "PrivateTmp", "RemoveIPC", "PrivateUsers", "ProtectProc", "ProcSubset",
    },
}  # fmt: skip
_NEW_MOUNTS: Final = 0x00020000
_NO_NEW_PRIVILEGES: Final = 38
_DROP_BOUNDING: Final = 24
_REFUSE_EXECUTE_GAIN: Final = 65
_CAPABILITIES: Final = 41
_ALLOW: Final = 0x7FFF0000
_ERROR: Final = 0x00050000
_PERMISSION: Final = 1
_NOT_THERE: Final = 38
_EQUAL: Final = 4
_MASKED_EQUAL: Final = 7
_NEW_NAMESPACES: Final = 0x7E020080
_FAMILIES: Final = {
    "AF_INET": socket.AF_INET, "AF_INET6": socket.AF_INET6, "AF_UNIX": socket.AF_UNIX
}  # fmt: skip
_C: Final = ctypes.CDLL(None, use_errno=True)


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("one", ctypes.c_uint64),
        ("two", ctypes.c_uint64),
    )


def _must(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno() or -result, f"cannot {what}")


def _read_only_tree(state: str) -> None:
    _must(_C.unshare(_NEW_MOUNTS), "make a mount namespace")
    for command in (
        ("--make-rprivate", "/"),
        ("--bind", state, state),
        ("-o", "remount,bind,ro", "/"),
    ):
        subprocess.run(["mount", *command], check=True)


def _limits(unit: dict[str, list[str]]) -> None:
    for directive, kind in (
        ("LimitCORE", resource.RLIMIT_CORE),
        ("LimitMEMLOCK", resource.RLIMIT_MEMLOCK),
        ("LimitNOFILE", resource.RLIMIT_NOFILE),
    ):
        value = int(unit[directive][0])
        resource.setrlimit(kind, (value, value))
    os.umask(int(unit["UMask"][0], 8))


def _give_up_privileges(account: int) -> None:
    for capability in range(_CAPABILITIES):
        _C.prctl(_DROP_BOUNDING, capability, 0, 0, 0)
    os.setgroups([])
    os.setgid(account)
    os.setuid(account)
    _must(_C.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "refuse new privileges")
    _must(_C.prctl(_REFUSE_EXECUTE_GAIN, 1, 0, 0, 0), "refuse memory written and executed")


def _filter(calls: frozenset[str], families: list[str]) -> None:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ERROR | _PERMISSION)))

    def rule(action: int, name: str, only: _Comparison | None = None) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # a name of another architecture has none
            count, given = (0, None) if only is None else (1, ctypes.byref(only))
            code = ctypes.c_uint32(action)
            _must(library.seccomp_rule_add_array(context, code, number, count, given), name)

    for name in sorted(calls - {"socket", "clone", "clone3", "unshare", "setns"}):
        rule(_ALLOW, name)
    for family in families:
        rule(_ALLOW, "socket", _Comparison(0, _EQUAL, _FAMILIES[family], 0))
    # RestrictNamespaces=: none is made or entered. The flags of clone3 cannot be seen, so the C library is told it is not there.
    rule(_ALLOW, "clone", _Comparison(0, _MASKED_EQUAL, _NEW_NAMESPACES, 0))
    rule(_ERROR | _NOT_THERE, "clone3")
    _must(library.seccomp_load(context), "load the filter")


def _environment() -> dict[str, str]:
    """Ours, in which `CONFINED_X` is X: the program finds its own code, which may be elsewhere than this one's."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("CONFINED_")}
    its = {
        name.removeprefix("CONFINED_"): value
        for name, value in os.environ.items()
        if name.startswith("CONFINED_")
    }
    return mine | its


def main(state: str, account: str, *program: str) -> None:
    """Confine this process and become the program; never returns."""
    unit = directives()
    calls = allowed_calls(unit["SystemCallFilter"])
    _read_only_tree(state)
    _limits(unit)
    os.chdir(state)
    _give_up_privileges(int(account))
    _filter(calls, unit["RestrictAddressFamilies"][0].split())
    os.execve(program[0], program, _environment())


if __name__ == "__main__":
    main(*sys.argv[1:])
