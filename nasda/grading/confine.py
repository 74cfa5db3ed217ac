"""How a worker is confined before it runs a student's code: by namespaces where the system allows them, and by limits.

With namespaces (Linux) a worker sees no network, no process but its own, and of the disk only what Python needs,
read-only; its own folder lies in memory. Without them limits alone hold: it can read what its user can read, and it
could open a connection. `Confined.how` says which.
"""

import ctypes
import os
import resource
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import Literal

How = Literal["namespaces", "limits"]

MEMORY = 2 * 2**30  # bytes more than the worker has when it begins
DISK = 64 * 2**20  # bytes of its folder, and of its largest file
PROCESSES = 64
OPEN_FILES = 128
CPU_SECONDS = 120  # of all that one answer does

_NAMESPACES = {"user": 0x10000000, "mount": 0x00020000, "ipc": 0x08000000, "net": 0x40000000, "pid": 0x20000000}
_READ_ONLY, _NO_SUID, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 32, 4096, 16384, 1 << 18
_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}  # its number as a system call
_NO_NEW_PRIVILEGES = 38
_NOBODY = 65534


class Unavailable(OSError):
    """The system does not allow what a confinement needs."""


def _call(function: str, *arguments: object) -> None:
    """A function of the C library. Raises `Unavailable` with the system's reason."""
    try:
        result = getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments)
    except (AttributeError, TypeError) as error:
        raise Unavailable(f"{function}: {error}") from error
    if result:
        raise Unavailable(f"{function}: {os.strerror(ctypes.get_errno())}")


def leave_namespaces() -> None:
    """Enter new namespaces of every kind; the next fork is the first process in them. Raises `Unavailable`."""
    user, group = os.geteuid(), os.getegid()
    kinds = [kind for kind in _NAMESPACES if user or kind != "user"]  # root needs no user namespace
    _call("unshare", sum(_NAMESPACES[kind] for kind in kinds))
    if user:
        _map_user(user, group, inside=0)


def _map_user(user: int, group: int, *, inside: int) -> None:
    with suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{inside} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{inside} {group} 1")


def needed_paths() -> list[Path]:
    """What Python, its libraries and this package are read from; none of them lies within another."""
    found = {sys.prefix, sys.base_prefix, str(Path(__file__).parents[1]), *sysconfig.get_paths().values()}
    found |= {path for path in sys.path if "-packages" in path}
    found |= {"/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/sys/devices/system/cpu"}
    existing = sorted({Path(path).resolve() for path in found if Path(path).exists()})
    return [path for path in existing if not any(other in path.parents for other in existing)]


def narrow_the_disk(root: Path) -> None:
    """Let `root`, an empty folder, become / with nothing but `needed_paths`, read-only, and a /tmp in memory.

    For the first process of new namespaces. Raises `Unavailable`.
    """
    _mount("none", Path("/"), "", _RECURSIVE | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", _NO_SUID, f"size={DISK},mode=755")
    for path in needed_paths():
        _show(path, root)
    for name in ("lib", "lib64", "bin", "sbin"):  # often links into /usr
        with suppress(OSError):
            (root / name).symlink_to(os.readlink(f"/{name}"))
    for device in ("null", "zero", "urandom"):
        _show(Path("/dev", device), root, writable=True)
    for folder in ("proc", "tmp", "old"):
        (root / folder).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    with suppress(Unavailable):  # a machine may forbid a second /proc; Python does without
        _mount("proc", root / "proc", "proc", _NO_SUID)
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise Unavailable(f"pivot_root: unknown on {os.uname().machine}")
    _call("syscall", number, os.fsencode(root), os.fsencode(root / "old"))
    os.chdir("/tmp")
    _call("umount2", b"/old", _DETACH)
    os.rmdir("/old")


def _show(path: Path, root: Path, *, writable: bool = False) -> None:
    """Mount `path` at the same place below `root`."""
    target = root / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.mkdir(exist_ok=True) if path.is_dir() else target.touch()
    _mount(str(path), target, "", _BIND | _RECURSIVE)
    if not writable:
        _mount(str(path), target, "", _BIND | _RECURSIVE | _REMOUNT | _READ_ONLY | _NO_SUID)


def _mount(source: str, target: Path, kind: str, flags: int, options: str = "") -> None:
    _call("mount", os.fsencode(source), os.fsencode(target), kind.encode(), flags, options.encode() or None)


def give_up_rights() -> None:
    """Become nobody, who can neither mount nor see another process; in namespaces. Raises `Unavailable`."""
    if os.geteuid() == 0 and _is_real_root():
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    else:  # in one more user namespace, the rights over the mounts are gone
        user, group = os.geteuid(), os.getegid()
        _call("unshare", _NAMESPACES["user"])
        with suppress(OSError):
            _map_user(user, group, inside=1000)
    _call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def _is_real_root() -> bool:
    """Root of the machine or of its container, not of a user namespace that `leave_namespaces` made."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/self/uid_map").read_text().split()[2]) > 1
    return True


def set_limits() -> None:
    """Limit memory, processor time, files and processes of this process and those that it starts."""
    pages = Path("/proc/self/statm")
    used = int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 0
    limits = {"FSIZE": DISK, "NOFILE": OPEN_FILES, "CPU": CPU_SECONDS, "CORE": 0, "AS": used + MEMORY}
    if os.geteuid() == _NOBODY:
        limits["NPROC"] = PROCESSES  # it counts all processes of a user: of nobody there are no others
    for name, most in limits.items():
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is not None:
            with suppress(ValueError, OSError):  # some systems refuse a limit on memory
                resource.setrlimit(number, (most, most))
