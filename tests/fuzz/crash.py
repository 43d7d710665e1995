"""Whose a crash is that stopped a fuzz target: ours, or a codec library's, which its sandbox is for.

In doubt it is ours. A library's it is when the innermost frame that is no run-time's lies in a shared library, and
nothing of ours can have led it there:

- a wild pointer, a division by zero; not a pointer near zero, which is what a forgotten check of ours passes on;
- memory that the library allocated itself and, where it is used after its end, freed within the very call of ours in
  which it used it; so nothing on our stack, and nothing that we let go of while the library still had it;
- a stack that the library has filled by calling itself.

Libraries are not instrumented, so what UndefinedBehaviorSanitizer finds is ours, and so are leaks, time-outs and
aborts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ERROR = re.compile(r"^==\d+==ERROR: AddressSanitizer: (\S+)(?: on (?:unknown )?address (0x[0-9a-f]+))?", re.MULTILINE)
_FRAME = re.compile(r"^ *#(\d+) 0x[0-9a-f]+ +(?:in )?(.*)$")
_LIBRARY = re.compile(r"\(/\S*\.so[^ )]*\)")
_RUNTIME = re.compile(
    r"^(__asan|__interceptor|__sanitizer|__lsan|operator (new|delete))|malloc|calloc|realloc|memalign|^free\b"
    r"|/(libc|libstdc\+\+|libc\+\+|libm|libpthread|ld-linux[^/]*)\.so"
)
_NEAR_ZERO = 0x10000
_RECURSION_FRAMES = 32


@dataclass(frozen=True, slots=True)
class Frame:
    """``where`` is what the sanitizer says of it: function, then file and line, or library and offset."""

    where: str

    @property
    def is_runtime(self) -> bool:
        return _RUNTIME.search(self.where) is not None

    @property
    def is_library(self) -> bool:
        return _LIBRARY.search(self.where) is not None


Stack = tuple[Frame, ...]


def is_of_a_library(log: str) -> bool:
    """Whether what ended a target, of which ``log`` is all that it said, is a library's own failure."""
    errors = list(_ERROR.finditer(log))
    if len(errors) != 1 or "runtime error:" in log or "ERROR: LeakSanitizer" in log:
        return False
    kind, address = errors[0].groups()
    stacks = _stacks(log[errors[0].start() :])
    crash = stacks.get("crash", ())
    if not _library_owns(crash):
        return False
    if kind == "FPE":
        return True
    if kind == "SEGV":
        return address is None or int(address, 16) >= _NEAR_ZERO
    if kind == "stack-overflow":
        return all(frame.is_library for frame in crash[:_RECURSION_FRAMES])
    if not _library_owns(stacks.get("allocated", ())):
        return False
    return "freed" not in stacks or _first_of_ours(stacks["freed"]) == _first_of_ours(crash)


def summary(log: str) -> str:
    """One line for people: what the target said that it found."""
    for start in ("SUMMARY: ", "==ERROR: ", "ERROR: "):
        for line in log.splitlines():
            if start in line:
                return line.strip()
    return next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "it said nothing")


def _stacks(report: str) -> dict[str, Stack]:
    """Of the crash, of who allocated the memory that it is about, and of who freed it."""
    stacks: dict[str, list[Frame]] = {}
    current: str | None = "crash"
    for line in report.splitlines():
        frame = _FRAME.match(line)
        if frame is None:
            if "allocated by thread" in line:
                current = "allocated"
            elif "freed by thread" in line:
                current = "freed"
            elif " is located in " in line or " created by " in line or line.startswith("SUMMARY"):
                current = None
        elif current is not None:
            if frame[1] == "0" and current in stacks:
                current = None  # another stack, of which nobody said what it is
            else:
                stacks.setdefault(current, []).append(Frame(frame[2]))
    return {name: tuple(frames) for name, frames in stacks.items()}


def _library_owns(stack: Stack) -> bool:
    innermost = next((frame for frame in stack if not frame.is_runtime), None)
    return innermost is not None and innermost.is_library


def _first_of_ours(stack: Stack) -> str | None:
    """The innermost frame that called a library; None in a library's own thread."""
    return next((frame.where for frame in stack if not frame.is_runtime and not frame.is_library), None)
