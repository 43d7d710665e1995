"""Replays what fuzzing has found so far for one target and fuzzes it: ``python -m tests.fuzz.campaign TARGET SECONDS``.

Exit status 1 when the target minds an input. A crash inside a codec library (``crash.py``) is passed over: the replay
goes on with the next input, and fuzzing goes on for the rest of the time.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.crash import is_of_a_library, summary

BUILD = Path("build/fuzz")
FINDINGS = BUILD / "findings"
REGRESSIONS = Path("tests/regressions")
_LIMITS = ("-timeout=30", "-rss_limit_mb=4096")
_FILES_A_RUN = 500
_RUNNING = re.compile(r"^Running: (.*)$", re.MULTILINE)
_UNITS = re.compile(r"stat::number_of_executed_units: *(\d+)")


class FoundSomething(Exception):
    """The target minds an input; the text is what it said."""


@dataclass
class Campaign:
    """One target's. ``passed_over``: crashes of libraries, by what was said of them."""

    program: Path
    name: str
    replayed: int = 0
    fuzzed: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def log(self) -> Path:
        return FINDINGS / f"{self.name}.log"

    def replay(self, inputs: Sequence[Path]) -> list[Path]:
        """Runs the target on each input, whatever happens to those before. Those at which a library crashed. Raises
        FoundSomething."""
        crashers = []
        left = list(inputs)
        while left:
            said = self._run(*_LIMITS, *map(str, left[:_FILES_A_RUN]))
            if said is None:
                self.replayed += len(left[:_FILES_A_RUN])
                left = left[_FILES_A_RUN:]
                continue
            ran = _RUNNING.findall(said)
            if not ran:
                raise FoundSomething(said)
            self.replayed += len(ran)
            crashers.append(left[len(ran) - 1])
            left = left[len(ran) :]
        return crashers

    def fuzz(self, seconds: float, corpora: Sequence[Path]) -> None:
        """For so long; after a library's crash from where it was. Raises FoundSomething."""
        until = time.monotonic() + seconds
        while (left := round(until - time.monotonic())) >= 1:
            # A leak in a library would hide what comes after it: leaks are looked for in the replay only.
            options = (f"-max_total_time={left}", "-detect_leaks=0", "-print_final_stats=1")
            if self._run(*_LIMITS, *options, *map(str, corpora)) is None:
                return

    def _run(self, *arguments: str) -> str | None:
        """None when the target ended well, else what it said when a library crashed. Raises FoundSomething."""
        with self.log.open("ab+") as log:
            begin = log.seek(0, 2)
            command = [str(self.program), f"-artifact_prefix={FINDINGS}/{self.name}-", *arguments]
            status = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
            log.seek(begin)
            said = log.read().decode(errors="replace")
        self.fuzzed += sum(map(int, _UNITS.findall(said)))
        if status == 0:
            return None
        if not is_of_a_library(said):
            raise FoundSomething(said)
        self.passed_over[summary(said)] += 1
        return said

    def report(self) -> str:
        """What was done, in one line, and one more for each kind of crash that was passed over."""
        crashes = self.passed_over.total()
        found = f"{crashes} crashes of libraries passed over (see {self.log})" if crashes else "nothing found"
        lines = [f"{self.name}: {self.replayed} inputs replayed, {self.fuzzed} fuzzed, {found}"]
        return "\n".join(lines + [f"    {count} x {what}" for what, count in self.passed_over.items()])


def main(target: str, seconds: float) -> int:
    """The exit status."""
    name = target.removesuffix("_fuzzer")
    corpus, regressions = BUILD / "corpus" / name, REGRESSIONS / name
    for folder in (corpus, regressions, FINDINGS):
        folder.mkdir(parents=True, exist_ok=True)
    campaign = Campaign(BUILD / target, name)
    campaign.log.write_bytes(b"")
    try:
        known = campaign.replay(sorted(regressions.iterdir()))
        for crasher in campaign.replay(sorted(corpus.iterdir())):
            # Fuzzing begins with all that is here, and would end with it.
            crasher.replace(FINDINGS / f"{name}-of-a-library-{crasher.name}")
        campaign.fuzz(seconds, [corpus] if known else [corpus, regressions])
    except FoundSomething as found:
        said = str(found)
        lines = [line for line in said.splitlines() if re.search("ERROR|SUMMARY|runtime error", line)]
        print(
            f"{name}: FOUND SOMETHING (see {campaign.log})",
            *(lines or said.splitlines())[-3:],
            sep="\n",
            file=sys.stderr,
        )
        return 1
    print(campaign.report(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
