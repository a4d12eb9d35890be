"""Faults at the n-th call of ``os``. Python imports this module at its start if its folder is on PYTHONPATH.

``strace`` counts the calls of each thread separately and repeats the fault after every restart. Here the calls
of all threads are counted together, and a fault that kills happens once, in the first process that reaches it.
``tests/faults/injection.py`` writes the plan.
"""

import errno
import itertools
import json
import os
import signal
import sys

# The functions of Python, by the name of their system call.
_FUNCTIONS = {
    "fdatasync": ("fdatasync",),
    "fsync": ("fsync",),
    "rename": ("rename", "replace"),
    "unlink": ("unlink", "remove"),
    "link": ("link",),
    "mkdir": ("mkdir",),
    "rmdir": ("rmdir",),
    "open": ("open",),
    "write": ("write", "pwrite", "writev"),
    "truncate": ("truncate", "ftruncate"),
    "fallocate": ("posix_fallocate",),
}
_write, _open = os.write, os.open
_synced = {}  # device and inode: how many bytes of the file the last good sync covered


def _install(plan):
    command_line = " ".join(sys.orig_argv)
    rules = [rule for rule in plan["rules"] if rule["only"] in command_line]
    for rule in rules:
        rule["counter"] = itertools.count(1)
    log = None
    if plan["record"] in command_line:
        log = _open(os.path.join(plan["folder"], "calls"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for call, functions in _FUNCTIONS.items():
        mine = [rule for rule in rules if call in rule["calls"]]
        call_log = log if call in plan["recorded_calls"] else None
        if mine or call_log is not None:
            for name in functions:
                setattr(os, name, _wrap(call, getattr(os, name), mine, plan["folder"], call_log))


def _wrap(call, function, rules, folder, log):
    def wrapped(*args, **keywords):
        if log is not None:
            _write(log, (json.dumps([os.getpid(), call, _target(args)]) + "\n").encode())
        after = None
        for rule in rules:
            number = next(rule["counter"])
            if rule["nth"] <= number and (not rule["times"] or number < rule["nth"] + rule["times"]):
                if rule["loses"]:
                    _lose_unsynced(args[0])
                after = _act(rule, folder) or after
        result = function(*args, **keywords)
        if call in ("fdatasync", "fsync"):
            found = os.fstat(args[0])
            _synced[found.st_dev, found.st_ino] = found.st_size
        if after is not None:
            os.kill(os.getpid(), after)
        return result

    return wrapped


def _target(args):
    """Return the path, or the open file's path if it can be found."""
    if not args:
        return ""
    if isinstance(args[0], int):
        try:
            return os.readlink(f"/proc/self/fd/{args[0]}")
        except OSError:
            return str(args[0])
    return os.fsdecode(args[-1] if len(args) > 1 and isinstance(args[1], str | os.PathLike) else args[0])


def _lose_unsynced(fd):
    """Fill with zeros what was written since the last sync, as a disk with a failed sync may do."""
    found = os.fstat(fd)
    start = _synced.get((found.st_dev, found.st_ino), found.st_size)
    writable = _open(f"/proc/self/fd/{fd}", os.O_WRONLY)
    os.pwrite(writable, bytes(max(0, found.st_size - start)), start)
    os.close(writable)


def _act(rule, folder):
    """Apply the rule; return a signal to send after the call, else None."""
    if rule["error"]:
        number = getattr(errno, rule["error"])
        _fire(rule, folder, "a")
        raise OSError(number, os.strerror(number))
    if not _fire(rule, folder, "x"):
        return None
    number = signal.Signals[rule["signal"]]
    if rule["when"] == "after":
        return number
    os.kill(os.getpid(), number)
    return None


def _fire(rule, folder, mode):
    """Record that the rule was applied; with mode ``x`` return False if it was applied before."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if mode == "x" else os.O_APPEND)
    try:
        fd = _open(os.path.join(folder, f"fired-{rule['id']}"), flags, 0o600)
    except FileExistsError:
        return False
    _write(fd, f"{os.getpid()}\n".encode())
    os.close(fd)
    return True


if "FAULT_PLAN" in os.environ:
    with open(os.environ["FAULT_PLAN"]) as _file:
        _install(json.load(_file))
