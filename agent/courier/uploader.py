"""Sends the artifacts of one spool to one collector on another host, several at once, with equal shares.

It runs in a thread of the courier: the training process itself sends no byte of an artifact. All uploads share
one connection and send one chunk each in turn; a congestion window limits the bytes under way. Small artifacts
have slots of their own, so that none waits for large ones, however many there are.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable
from pathlib import Path

from neural.tracking.agent.courier.upload import Upload
from neural.tracking.agent.send.congestion import CongestionWindow
from neural.tracking.agent.send.dealer import Dealer
from neural.tracking.core import os_support
from neural.tracking.core.address import with_port
from neural.tracking.core.files import is_surely_gone, is_there, read_json
from neural.tracking.core.names import is_hex_id
from neural.tracking.errors import ConfigError
from neural.tracking.formats import upload_wire
from neural.tracking.remote import keys
from neural.tracking.remote.probe import reach
from neural.tracking.remote.sockets import UP
from neural.tracking.state import spool

AT_ONCE = 8  # of the small ones, and of the large ones
SMALL_BYTES = 4 << 20
MOST_IN_FLIGHT_BYTES = 8 << 20
SCAN_EVERY_S = 0.5
RETRY_S = 2.0
DOWN_S = 10.0  # without a connection, ask the collector for its address again
BAD_RETRY_S = 30.0
MOST_UNANSWERED, UNANSWERED_RETRY_S = 2, 5.0  # then another upload gets the slot


def waiting(root: Path) -> dict[str, list[Path]]:
    """Return the complete entries of a spool by their collector's address, the oldest first; reads the disk."""
    found: dict[str, list[Path]] = {}
    for folder, entries in spool.waiting(root).items():
        try:
            address_file = read_json(folder / spool.ADDRESS_NAME)
        except (OSError, ValueError):
            address_file = None
        address = address_file.get("collector") if isinstance(address_file, dict) else None
        if isinstance(address, str):
            found.setdefault(address, []).extend(entries)
    return found


def remove_done(root: Path, outboxes: Path) -> None:
    """Remove the spool folders of ended sessions without entries; skip a folder that cannot be removed."""
    for folder in list(root.iterdir()) if root.is_dir() else ():
        if is_hex_id(folder.name):
            with contextlib.suppress(OSError):
                if is_there(outboxes / folder.name):
                    continue
                rest = list(folder.iterdir())
                if all(path.name == spool.ADDRESS_NAME or path.suffix == spool.OUTCOME_SUFFIX for path in rest):
                    for path in rest:
                        path.unlink()
                    folder.rmdir()


class Uploader:
    """Uploads all entries for one collector. Call :meth:`run` in a thread of its own.

    Args:
        root: the spool.
        outboxes: the folder of the sessions' outboxes; a missing outbox was delivered completely.
        report: called with what prevents an upload; with "" once connected.
    """

    def __init__(self, address: str, root: Path, outboxes: Path, report: Callable[[str], None]) -> None:
        self._address, self._root, self._outboxes, self._report = address, root, outboxes, report
        self._link: Dealer | None = None
        self._uploads: dict[bytes, Upload] = {}
        self._pace = CongestionWindow()
        self._entries: dict[Path, int] = {}  # waiting entries and their size in bytes
        self._may_begin = False  # a slot or an entry is new since the last check
        self._sent_total = 0
        self._scan_at = self._last_up_at = 0.0
        self._retry_at: dict[Path, float] = {}
        self._wake = os_support.Wake()  # Dealer.wait needs one; it is never set

    def run(self, stop: threading.Event) -> None:
        """Send until nothing is left for this collector, or ``stop`` is set. Blocks until then."""
        try:
            while not stop.is_set() and self._scan(time.monotonic()):
                if self._link is None and not self._connect():
                    stop.wait(RETRY_S)
                elif self._link is not None:
                    self._turn(self._link, time.monotonic())
        finally:
            self._disconnect()
            for upload in self._uploads.values():
                upload.close()
            self._wake.close()

    def _scan(self, now: float) -> bool:
        """Find new entries and begin uploads; return whether any entry is left."""
        if now >= self._scan_at:
            self._scan_at = now + SCAN_EVERY_S
            found = waiting(self._root).get(self._address, [])
            found.sort(key=lambda entry: self._retry_at.get(entry, 0.0))
            self._entries = {entry: self._entries.get(entry) or spool.size_bytes(entry) for entry in found}
            self._may_begin = True
        if self._may_begin:
            self._may_begin = False
            self._begin(now)
        return bool(self._uploads or self._entries)

    def _begin(self, now: float) -> None:
        """Begin uploads while there are free slots."""
        begun = [self._is_small(upload.entry) for upload in self._uploads.values() if not upload.is_sent]
        free = {small: AT_ONCE - begun.count(small) for small in (True, False)}
        for entry in self._entries:
            if not any(free.values()):
                break
            token, small = bytes.fromhex(entry.name), self._is_small(entry)
            waits = token not in self._uploads and now >= self._retry_at.get(entry, 0.0)
            if waits and free[small] and entry.exists():
                outbox = self._outboxes / entry.parent.name
                self._uploads[token] = Upload(entry, functools.partial(is_surely_gone, outbox))
                free[small] -= 1

    def _is_small(self, entry: Path) -> bool:
        return self._entries.get(entry, 0) <= SMALL_BYTES

    def _connect(self) -> bool:
        try:
            security = keys.client_security(self._address)
        except (ConfigError, OSError) as error:
            self._report(str(error))
            return False
        found = reach(self._address, security)
        if found.how != "answers" or not found.uploads:
            why = "takes no artifacts" if found.how == "answers" else f"cannot be reached: {found.how}"
            self._report(f"the collector at {self._address} {why}")
            return False
        self._report("")
        self._link = Dealer(with_port(self._address, found.uploads), security, upload_wire.decode)
        self._last_up_at = time.monotonic()
        self._begin_again()
        return True

    def _disconnect(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _begin_again(self) -> None:
        self._pace.broken()
        self._retry_at.clear()
        for upload in self._uploads.values():
            upload.offer_again()

    def _turn(self, link: Dealer, now: float) -> None:
        busy = self._send(link, now)
        link.wait(self._wake.fd, 0.0 if busy else 0.1, for_room=False)
        now = time.monotonic()
        for message in link.receive():
            upload = self._uploads.get(getattr(message, "token", b""))
            if upload is not None:
                was_sent = upload.is_sent
                upload.handle(message, now)
                self._may_begin = self._may_begin or upload.is_sent != was_sent
                self._pace.acknowledged(self._sent_total - self._in_flight(), now)
                if upload.done:
                    del self._uploads[upload.token]
        for event in link.connection_events():
            if event == UP:
                self._begin_again()
        if link.is_up:
            self._last_up_at = now
        elif now - self._last_up_at > DOWN_S:
            self._disconnect()

    def _in_flight(self) -> int:
        return sum(upload.in_flight_bytes for upload in self._uploads.values())

    def _send(self, link: Dealer, now: float) -> bool:
        """Send one message of each upload; return whether more can be sent at once."""
        more = False
        for token, upload in list(self._uploads.items()):
            if upload.done:  # its outcome did not arrive in time
                del self._uploads[token]
                continue
            if upload.unanswered >= MOST_UNANSWERED and len(self._entries) > len(self._uploads):
                self._postpone(upload, now + UNANSWERED_RETRY_S)  # the collector may have room for another one
                continue
            room = min(self._pace.window_bytes, MOST_IN_FLIGHT_BYTES) - self._in_flight()
            most = min(self._pace.batch_bytes, room) if room >= self._pace.batch_bytes else 0
            try:
                message = upload.next(now, most)
            except OSError as error:
                self._report(f"{upload.entry}: {error}")
                self._postpone(upload, now + BAD_RETRY_S)
                continue
            if message is None:
                continue
            if not link.send(message):
                upload.offer_again()
                continue
            if isinstance(message, upload_wire.Chunk):
                more = True
                self._uploads[token] = self._uploads.pop(token)  # the next chunk is of another upload
                self._sent_total += len(message.data)
                self._pace.sent(self._sent_total, self._in_flight(), now)
        return more

    def _postpone(self, upload: Upload, until: float) -> None:
        self._retry_at[upload.entry] = until
        self._may_begin = True
        upload.close()
        del self._uploads[upload.token]
