"""Become another program that dies with its parent, and all it started too: ``python -I tether.py PARENT_PID PROGRAM
[ARG ...]``.

Runs as a script, before the program it becomes: a fork hook inside a process with gRPC threads would be
unsafe. Starts a session of its own and asks Linux for SIGKILL when the parent dies (prctl(2), PR_SET_PDEATHSIG, kept
across execve). The program's own children do not inherit that, and Triton's model processes can outlive a killed
server; so a guard in the same process group waits for either death and kills the group.
"""

import ctypes
import os
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def main() -> None:
    parent, program, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[2:]
    if os.getpid() != os.getsid(0):
        os.setsid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    deaths = [os.pidfd_open(parent), os.pidfd_open(os.getpid())]
    # Only now: a parent that died before either was in place is not the parent any more.
    if os.getppid() != parent:
        sys.exit(1)
    if os.fork() == 0:
        guard(deaths)
    os.execv(program, arguments)


def guard(deaths: list[int]) -> None:
    """Waits for the first of ``deaths`` (pidfds), then kills this process group, itself included."""
    try:
        poll = select.poll()
        for death in deaths:
            poll.register(death, select.POLLIN)
        poll.poll()
    finally:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
