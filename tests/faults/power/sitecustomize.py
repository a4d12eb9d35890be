"""Records what is synced to the disk. Python imports this module at its start if its folder is on PYTHONPATH.

It writes a line for every sync that returned: for a file, its length before the sync; for a folder, its names
and their inodes. A hard link keeps each file that is unlinked or replaced, because a disk may still have it if
the folder was not synced. ``tests/faults/power_cut.py`` makes from these records what a disk may contain after
a power loss. ``POWER_BOOT_ID`` replaces the system's boot id, so that later processes see a restarted host.
"""

import json
import os

_fsync, _fdatasync, _open = os.fsync, os.fdatasync, os.open
_unlink, _rename, _truncate, _stat = os.unlink, os.rename, os.ftruncate, os.stat


def _install(shadow, boot_id):
    log = _open(os.path.join(shadow, "record"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(**what):
        os.write(log, (json.dumps(what) + "\n").encode())

    def keep(path, dir_fd=None):
        try:
            inode = _stat(path, dir_fd=dir_fd, follow_symlinks=False).st_ino
            os.link(path, os.path.join(shadow, str(inode)), src_dir_fd=dir_fd, follow_symlinks=False)
        except OSError:  # it does not exist, is a folder, or is kept already
            pass

    def syncing(sync):
        def synced(fd):
            found = os.fstat(fd)
            folder = os.path.isdir(f"/proc/self/fd/{fd}")
            names = {e.name: e.inode() for e in os.scandir(fd)} if folder else None
            result = sync(fd)
            note(inode=found.st_ino, size=found.st_size, names=names)
            return result

        return synced

    def unlinked(path, *, dir_fd=None):
        keep(path, dir_fd)
        return _unlink(path, dir_fd=dir_fd)

    def renamed(source, target, **more):
        keep(target)
        return _rename(source, target, **more)

    def truncated(fd, length):
        note(inode=os.fstat(fd).st_ino, cut=length)
        return _truncate(fd, length)

    os.fsync, os.fdatasync = syncing(_fsync), syncing(_fdatasync)
    os.unlink = os.remove = unlinked
    os.rename = os.replace = renamed
    os.ftruncate = truncated

    from neural.tracking.core import os_support

    os_support.boot_id = lambda: boot_id


if "POWER_SHADOW" in os.environ:
    _install(os.environ["POWER_SHADOW"], os.environ["POWER_BOOT_ID"])
