"""Become another program that dies with its parent: ``python -I tether.py PARENT_PID PROGRAM [ARG ...]``.

Runs as a script, before the program it becomes: a fork hook inside a process with gRPC threads would be
unsafe. Starts a session of its own, asks Linux for SIGKILL when the parent dies (prctl(2),
PR_SET_PDEATHSIG, kept across execve), and checks that the parent did not die before that.
"""

import ctypes
import os
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
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(program, arguments)


if __name__ == "__main__":
    main()
