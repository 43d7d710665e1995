"""The decision log: one file, one JSON line a decision, only ever appended to.

``append`` hands a record to a writer thread through a bounded queue and returns at once; it never raises and
never waits, so a slow or full disk cannot reach a request. What could not be kept is counted and reported:
once when it begins (with the reason), once when it is over (with the number lost).

The file is opened with O_APPEND and lines are written whole, many to a ``write`` when many are waiting, so
that several processes can share one file on a local disk. A line torn by a full disk or a crash is ended
before the next one begins, and ``read_log`` reports it as what it is.

Durability: data is handed to the kernel within 20 ms, and synchronised to the disk (``fdatasync``) at the latest
``sync_interval_s`` after it was written, and on ``flush``, ``reopen`` and ``close``. A crash of the process
loses what is in the queue; a crash of the machine, at most that interval. The writer waits that long for more
to write because waking it for every decision costs the event loop more than encoding the record does.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from floodgate.decision.record import DecisionRecord
from floodgate.errors import ConfigError

_BATCH_RECORDS = 256
_GATHER_S = 0.02


@dataclass(frozen=True, slots=True)
class LogStats:
    """Since the log was opened. ``dropped``: the queue was full or the log closed; ``failed``: could not be
    encoded or written; ``pending``: still in the queue or under way."""

    written: int
    dropped: int
    failed: int
    pending: int
    bytes_written: int


class DecisionLog:
    """Appends records to ``path``, which is created (mode 0640) with its folders.

    ``report`` gets sentences for the operator; it is called on the writer thread, or on the caller's when
    the queue overflows. ``capacity`` bounds the queue, in records. Thread-safe.

    Raises ``ConfigError`` when the file cannot be opened at the start; later trouble is reported instead.
    """

    def __init__(
        self,
        path: Path,
        *,
        report: Callable[[str], None],
        capacity: int = 8192,
        sync_interval_s: float = 1.0,
    ) -> None:
        # Constant after construction.
        self._path = path
        self._report = report
        self._capacity = capacity
        self._sync_interval_s = sync_interval_s
        self._enough = min(_BATCH_RECORDS, capacity)

        # Guarded by _wake's lock.
        self._wake = threading.Condition()
        self._queue: deque[DecisionRecord] = deque()
        self._accepted = 0
        self._settled = 0
        self._dropped = 0
        self._failed = 0
        self._written = 0
        self._bytes = 0
        self._idle = False
        self._overflowing = False
        self._overflow_lost = 0
        self._closing = False
        self._reopen_asked = 0
        self._reopen_done = 0
        self._sync_asked = 0
        self._sync_done = 0

        # The writer thread's own.
        self._torn = False
        self._trouble = ""
        self._lost = 0
        self._unsynced = False
        self._synced_at = time.monotonic()
        self._fd = -1

        try:
            self._open()
        except OSError as error:
            raise ConfigError(f"the decision log '{path}' cannot be opened: {error.strerror or error}") from error
        self._thread = threading.Thread(target=self._run, name="floodgate-decision-log", daemon=True)
        self._thread.start()

    def append(self, record: DecisionRecord) -> bool:
        """Queue one record. False when it was dropped, which is counted and reported."""
        with self._wake:
            if not self._closing and len(self._queue) < self._capacity:
                self._queue.append(record)
                self._accepted += 1
                if self._idle or len(self._queue) == self._enough:
                    self._idle = False
                    self._wake.notify_all()
                return True
            self._dropped += 1
            self._overflow_lost += 1
            first = not self._overflowing
            self._overflowing = True
            reason = "it is closed" if self._closing else f"{self._capacity} decisions are waiting to be written"
        if first:
            self._report(f"the decision log '{self._path}' drops decisions: {reason}")
        return False

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until everything appended so far was written (or counted as failed) and synchronised. False
        when ``timeout_s`` ran out first."""
        with self._wake:
            goal = self._accepted
            self._sync_asked += 1
            asked = self._sync_asked
            self._wake.notify_all()
            return self._wake.wait_for(
                lambda: (self._settled >= goal and self._sync_done >= asked) or not self._thread.is_alive(),
                timeout_s,
            )

    def reopen(self) -> None:
        """Let go of the file and open ``path`` anew, after what is queued now: log rotation. Safe to call
        from a signal handler of an event loop; returns at once."""
        with self._wake:
            self._reopen_asked += 1
            self._wake.notify_all()

    def stats(self) -> LogStats:
        with self._wake:
            return LogStats(
                written=self._written,
                dropped=self._dropped,
                failed=self._failed,
                pending=self._accepted - self._settled,
                bytes_written=self._bytes,
            )

    def close(self, timeout_s: float | None = None) -> bool:
        """Write what is queued, synchronise, and close. Later appends are dropped. False when ``timeout_s``
        ran out first; the writer then goes on in the background. May be called again."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # ----------------------------------------------------------------- the writer thread

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            self._shut()
            with self._wake:
                self._wake.notify_all()

    def _turn(self) -> bool:
        """One round: wait, write a batch, synchronise. False when the log is closed and all is written."""
        with self._wake:
            if self._nothing_to_do():
                self._idle = True
                # Only data that is not yet on the disk needs a wake-up of its own.
                self._wake.wait(self._sync_interval_s if self._unsynced else None)
                self._idle = False
            if self._queue:
                self._wake.wait_for(self._urgent, _GATHER_S)
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), _BATCH_RECORDS))]
            drained = not self._queue
            sync_goal = self._sync_asked if drained else self._sync_done
            reopen_goal = self._reopen_asked if drained else self._reopen_done
            finished = self._closing and drained
            recovered = self._overflow_lost if self._overflowing and drained else 0
            if recovered:
                self._overflowing = False
                self._overflow_lost = 0
        if recovered and not finished:
            self._report(f"the decision log '{self._path}' keeps up again; {recovered} decisions were dropped")
        if batch:
            self._write(batch)
        reopening = reopen_goal > self._reopen_done
        due = time.monotonic() - self._synced_at >= self._sync_interval_s
        if self._unsynced and (due or finished or reopening or sync_goal > self._sync_done):
            self._sync()
        if reopening:
            self._reopen()
        with self._wake:
            self._settled += len(batch)
            self._sync_done = sync_goal
            self._reopen_done = reopen_goal
            self._wake.notify_all()
        return not finished

    def _nothing_to_do(self) -> bool:
        return not (
            self._queue or self._closing or self._sync_asked > self._sync_done or self._reopen_asked > self._reopen_done
        )

    def _urgent(self) -> bool:
        """Whether what is queued cannot wait for more to join it."""
        return (
            len(self._queue) >= self._enough
            or self._closing
            or self._sync_asked > self._sync_done
            or self._reopen_asked > self._reopen_done
        )

    def _write(self, batch: list[DecisionRecord]) -> None:
        lines: list[bytes] = []
        for record in batch:
            try:
                lines.append(record.to_json_line().encode("ascii"))
            except (ValueError, TypeError, AttributeError) as error:
                self._count(failed=1)
                self._report(f"decision {record.decision_id} cannot be written down: {error}")
        if not lines:
            return
        whole, reason = self._put(lines)
        self._count(written=whole, failed=len(lines) - whole, size=sum(map(len, lines[:whole])))
        if reason:
            self._lost += len(lines) - whole
            if reason != self._trouble:
                self._trouble = reason
                self._report(f"the decision log '{self._path}' cannot be written: {reason}")
        elif self._trouble:
            self._report(f"the decision log '{self._path}' is written again; {self._lost} decisions were lost")
            self._trouble, self._lost = "", 0

    def _put(self, lines: list[bytes]) -> tuple[int, str]:
        """Write lines. Returns how many are whole in the file, and why not all ("" when all)."""
        done = 0
        try:
            if self._fd < 0:
                self._open()
            lead = b"\n" if self._torn else b""
            data = memoryview(lead + b"".join(lines))
            while done < len(data):
                done += os.write(self._fd, data[done:])
            self._torn = False
            self._unsynced = True
            return len(lines), ""
        except OSError as error:
            reason = error.strerror or str(error)
        lead_size = 1 if self._torn else 0
        if done == 0:
            return 0, reason
        self._unsynced = True
        whole, left = 0, done - lead_size
        for line in lines:
            if left < len(line):
                break
            left -= len(line)
            whole += 1
        # With nothing left over the file ends with a newline, be it the one that ended the torn line.
        self._torn = left > 0
        return whole, reason

    def _count(self, *, written: int = 0, failed: int = 0, size: int = 0) -> None:
        with self._wake:
            self._written += written
            self._failed += failed
            self._bytes += size

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Read access only serves to look at the last byte.
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        facts = os.fstat(fd)
        if stat.S_ISREG(facts.st_mode) and facts.st_size:
            self._torn = os.pread(fd, 1, facts.st_size - 1) != b"\n"
        else:
            self._torn = False
        self._fd = fd

    def _reopen(self) -> None:
        self._shut()
        try:
            self._open()
        except OSError as error:
            self._trouble = error.strerror or str(error)
            self._report(f"the decision log '{self._path}' cannot be opened again: {self._trouble}")

    def _sync(self) -> None:
        self._unsynced = False
        self._synced_at = time.monotonic()
        try:
            if self._fd >= 0:
                os.fdatasync(self._fd)
        except OSError as error:
            # EINVAL: the path is no file on a disk (a pipe, /dev/stdout); there is nothing to synchronise.
            reason = error.strerror or str(error)
            if error.errno != errno.EINVAL and reason != self._trouble:
                self._trouble = reason
                self._report(f"the decision log '{self._path}' cannot be synchronised: {reason}")

    def _shut(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                os.close(fd)
            except OSError as error:
                self._report(f"the decision log '{self._path}' was closed with an error: {error.strerror or error}")


def read_log(path: Path) -> Iterator[tuple[int, DecisionRecord | ValueError]]:
    """The lines of a log, from 1, each with its record, or with the ValueError that says why it is none (a
    torn line). Empty lines are left out. Raises OSError when the file cannot be read."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                yield number, DecisionRecord.from_json(line)
            except ValueError as error:
                yield number, error
