"""Which crashes of a fuzz target are a library's own, and that fuzzing goes on past those and past no others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fuzz import campaign
from tests.fuzz.campaign import Campaign, FoundSomething
from tests.fuzz.crash import is_of_a_library, summary

GIF = "in DGifGetLine (/usr/lib/x86_64-linux-gnu/libgif.so.7+0x1234) (BuildId: 0badcafe)"
GIF_ALLOC = "in GifMakeMapObject (/usr/lib/x86_64-linux-gnu/libgif.so.7+0x99)"
OURS = "in floodgate::read_row(GifFileType*) /src/cpp/src/media/gif.cc:100:5"
OURS_ELSEWHERE = "in floodgate::close(GifFileType*) /src/cpp/src/media/gif.cc:180:5"
FUZZER = "in LLVMFuzzerTestOneInput /src/tests/fuzz/gif_fuzzer.cc:20:3"
MALLOC = "in __interceptor_malloc (/build/fuzz/gif_fuzzer+0x5555)"
FREE = "in free (/build/fuzz/gif_fuzzer+0x5556)"
MEMCPY = "in __asan_memcpy (/build/fuzz/gif_fuzzer+0x5557)"
LIBC = "in __memmove_avx (/lib/x86_64-linux-gnu/libc.so.6+0x5558)"
UNKNOWN = "(/usr/lib/x86_64-linux-gnu/libgif.so.7+0x77)"
WILD, NULL = "0x7f0012345678", "0x000000000008"


def stack(*frames: str) -> str:
    return "\n".join(f"    #{number} 0x{number + 1:012x} {frame}" for number, frame in enumerate(frames))


def report(kind: str, address: str, *frames: str, allocated: tuple[str, ...] = (), freed: tuple[str, ...] = ()) -> str:
    where = (
        f"on unknown address {address} (pc 0x01 T0)" if kind in ("SEGV", "FPE") else f"on address {address} at pc 0x01"
    )
    lines = ["INFO: Seed: 1", f"==12==ERROR: AddressSanitizer: {kind} {where}"]
    lines += ["READ of size 1 at 0x7ff thread T0", stack(*frames), ""]
    if freed:
        lines += ["freed by thread T0 here:", stack(*freed), ""]
    if allocated:
        lines += [f"{'previously ' if freed else ''}allocated by thread T0 here:", stack(*allocated), ""]
    return "\n".join([*lines, f"SUMMARY: AddressSanitizer: {kind} ({frames[0]})"])


OF_A_LIBRARY = {
    "wild pointer": report("SEGV", WILD, GIF, OURS, FUZZER),
    "wild pointer without symbols": report("SEGV", WILD, UNKNOWN, OURS, FUZZER),
    "copy to a wild pointer": report("SEGV", WILD, LIBC, MEMCPY, GIF, OURS, FUZZER),
    "division by zero": report("FPE", WILD, GIF, OURS, FUZZER),
    "past its own memory": report(
        "heap-buffer-overflow", WILD, MEMCPY, GIF, OURS, FUZZER, allocated=(MALLOC, GIF_ALLOC, OURS, FUZZER)
    ),
    "its own, freed in the same call": report(
        "heap-use-after-free",
        WILD,
        MEMCPY,
        GIF,
        OURS,
        FUZZER,
        freed=(FREE, GIF_ALLOC, GIF, OURS, FUZZER),
        allocated=(MALLOC, GIF_ALLOC, OURS, FUZZER),
    ),
    "in a thread of its own": report("heap-buffer-overflow", WILD, MEMCPY, GIF, allocated=(MALLOC, GIF_ALLOC)),
    "it calls itself for ever": report("stack-overflow", WILD, *[GIF] * 200),
}
OURS_ALONE = {
    "nothing": "",
    "it ended well": "Done 12 runs in 1 second(s)",
    "wild pointer in our code": report("SEGV", WILD, OURS, FUZZER),
    "null pointer": report("SEGV", "0x000000000000", GIF, OURS, FUZZER),
    "member of a null pointer": report("SEGV", NULL, GIF, OURS, FUZZER),
    "copy that we asked for": report("SEGV", WILD, LIBC, MEMCPY, OURS, FUZZER),
    "our memory": report("heap-buffer-overflow", WILD, MEMCPY, GIF, OURS, FUZZER, allocated=(MALLOC, OURS, FUZZER)),
    "memory of whom, nobody knows": report("heap-buffer-overflow", WILD, MEMCPY, GIF, OURS, FUZZER),
    "our stack": report("stack-buffer-overflow", WILD, MEMCPY, GIF, OURS, FUZZER).replace(
        "SUMMARY", f"Address 0x7ff is located in stack of thread T0 at offset 96 in frame\n{stack(OURS)}\nSUMMARY"
    ),
    "freed by us": report(
        "heap-use-after-free",
        WILD,
        MEMCPY,
        GIF,
        OURS,
        FUZZER,
        freed=(FREE, OURS_ELSEWHERE, FUZZER),
        allocated=(MALLOC, GIF_ALLOC, OURS, FUZZER),
    ),
    "freed by a call of ours that was too early": report(
        "heap-use-after-free",
        WILD,
        MEMCPY,
        GIF,
        OURS,
        FUZZER,
        freed=(FREE, GIF_ALLOC, OURS_ELSEWHERE, FUZZER),
        allocated=(MALLOC, GIF_ALLOC, OURS, FUZZER),
    ),
    "we call ourselves through it": report("stack-overflow", WILD, *[GIF, OURS] * 100),
    "undefined behaviour": f"{OURS}: runtime error: signed integer overflow\n" + report("SEGV", WILD, GIF, OURS),
    "leak": f"==12==ERROR: LeakSanitizer: detected memory leaks\n{stack(MALLOC, GIF, OURS)}",
    "time-out": f"==12== ERROR: libFuzzer: timeout after 30 seconds\n{stack(GIF, OURS)}",
    "too much memory": f"==12== ERROR: libFuzzer: out-of-memory (malloc(4294967296))\n{stack(MALLOC, GIF, OURS)}",
    "abort": f"==12== ERROR: libFuzzer: deadly signal\n{stack(GIF, OURS)}",
    "two errors": report("SEGV", WILD, GIF, OURS) + "\n" + report("SEGV", WILD, GIF, OURS),
}


@pytest.mark.parametrize("name", OF_A_LIBRARY)
def test_a_library_s_own_failure_is_known(name: str) -> None:
    assert is_of_a_library(OF_A_LIBRARY[name])


@pytest.mark.parametrize("name", OURS_ALONE)
def test_in_doubt_a_crash_is_ours(name: str) -> None:
    assert not is_of_a_library(OURS_ALONE[name])


def test_the_summary_is_what_the_sanitizer_said() -> None:
    assert summary(OF_A_LIBRARY["wild pointer"]) == f"SUMMARY: AddressSanitizer: SEGV ({GIF})"
    assert summary("==1== ERROR: libFuzzer: deadly signal\nmore") == "==1== ERROR: libFuzzer: deadly signal"
    assert summary("killed\n\n") == "killed"


TARGET = """#!{python}
import pathlib, sys
options = [each for each in sys.argv[1:] if each.startswith("-")]
files = [pathlib.Path(each) for each in sys.argv[1:] if not each.startswith("-")]
fuzzing = any(each.startswith("-max_total_time") for each in options)
for file in files:
    if fuzzing:
        turns = pathlib.Path("turns")
        turn = len(turns.read_text()) if turns.exists() else 0
        turns.write_text("x" * (turn + 1))
        print("stat::number_of_executed_units: 100")
        said = pathlib.Path(f"turn-{{turn}}").read_text()
    else:
        print("Running:", file)
        said = file.read_text()
    print(said)
    if said:
        sys.exit(77)
"""
"""Says what libFuzzer does, and ends at the first input that has a report for its content; when it fuzzes, the reports
are in files turn-0, turn-1, … ."""


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "build" / "fuzz" / "gif_fuzzer"
    campaign.FINDINGS.mkdir(parents=True)
    program.write_text(TARGET.format(python=sys.executable))
    program.chmod(0o755)
    return Campaign(program, "gif")


def inputs(*contents: str) -> list[Path]:
    files = [Path(f"input-{number}") for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_text(content)
    return files


def test_the_replay_goes_on_past_a_library_s_crashes(trial: Campaign) -> None:
    crash = OF_A_LIBRARY["wild pointer"]
    files = inputs("", crash, "", crash, "")
    assert trial.replay(files) == [files[1], files[3]]
    assert trial.replayed == 5
    assert trial.passed_over.total() == 2
    assert "5 inputs replayed, 0 fuzzed, 2 crashes of libraries passed over" in trial.report()


def test_the_replay_fails_on_ours_behind_a_library_s(trial: Campaign) -> None:
    with pytest.raises(FoundSomething, match="heap-buffer-overflow"):
        trial.replay(inputs("", OF_A_LIBRARY["wild pointer"], "", OURS_ALONE["our memory"]))
    with pytest.raises(FoundSomething, match="detected memory leaks"):
        trial.replay(inputs(OURS_ALONE["leak"]))


def test_fuzzing_goes_on_after_a_library_s_crash_and_ends_with_one_of_ours(trial: Campaign) -> None:
    for turn, content in enumerate((OF_A_LIBRARY["wild pointer"], OF_A_LIBRARY["division by zero"], "")):
        Path(f"turn-{turn}").write_text(content)
    trial.fuzz(3600, [Path("corpus")])
    assert (trial.fuzzed, trial.passed_over.total()) == (300, 2)
    assert trial.log.read_text().count("SUMMARY") == 2
    Path("turn-3").write_text(OURS_ALONE["abort"])
    with pytest.raises(FoundSomething, match="deadly signal"):
        trial.fuzz(3600, [Path("corpus")])


@pytest.mark.parametrize("behind", ["", OURS_ALONE["our memory"]])
def test_the_whole_campaign_tells_what_it_ran(trial: Campaign, behind: str, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, regressions = Path("build/fuzz/corpus/gif"), Path("tests/regressions/gif")
    for folder, contents in (
        (corpus, ("", OF_A_LIBRARY["division by zero"])),
        (regressions, (OF_A_LIBRARY["wild pointer"], behind)),
    ):
        folder.mkdir(parents=True)
        for number, content in enumerate(contents):
            (folder / str(number)).write_text(content)
    Path("turn-0").write_text("")
    assert campaign.main("gif_fuzzer", 3600) == bool(behind)
    said = capsys.readouterr()
    if behind:
        assert "gif: FOUND SOMETHING" in said.err
        assert "heap-buffer-overflow" in said.err
    else:
        assert "gif: 4 inputs replayed, 100 fuzzed, 2 crashes of libraries passed over" in said.out
        # It would end the fuzzing, which begins with all that is there.
        assert [file.name for file in corpus.iterdir()] == ["0"]
        assert (campaign.FINDINGS / "gif-of-a-library-1").exists()
