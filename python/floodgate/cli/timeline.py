"""What was looked at of a video or an animated picture, a line a frame, for people."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from floodgate.v1 import moderation_pb2 as pb

_BAR_CELLS = 10
_LABELS = 3
_HOT, _WARM = 0.8, 0.4


def timelines(name: str, decision: pb.Decision, console: Console) -> None:
    """Prints the timeline of each part of ``decision`` that has one; its scores are there when it was traced."""
    several = len(decision.parts) > 1
    for part in decision.parts:
        if not part.HasField("sampling"):
            continue
        title = f"{name}, part {part.part_id}" if several else name
        console.print(plain(title, "bold"))
        console.print(plain(f"  {_summary(part)}"))
        frames: dict[int, list[pb.LabelScore]] = {}
        for score in decision.scores:
            if score.part_id == part.part_id:
                frames.setdefault(score.time_ms, []).append(score)
        table = Table(box=None, pad_edge=True, show_header=False)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column()
        for time_ms in sorted(frames):
            ranked = sorted(frames[time_ms], key=lambda score: -score.score)
            top = ranked[0].score
            table.add_row(clock(time_ms), Text(bar(top), _style(top)), plain(_labels(ranked)))
        console.print(table)
        if part.note:
            console.print(plain(f"  note: {part.note}", "yellow"))
        console.print()


def _summary(part: pb.PartStatus) -> str:
    what = "/".join(word for word in (part.media_format, part.codec) if word) or "unknown"
    length = f", {clock(part.duration_ms)} long" if part.duration_ms else ""
    counts = [f"{part.frames_sampled} frames judged"]
    if part.frames_dropped:
        counts.append(f"{part.frames_dropped} near copies dropped")
    if part.frames_missed:
        counts.append(f"{part.frames_missed} not reached in time")
    plan = (
        f"at most {part.sampling.max_frames}, {part.sampling.min_interval_ms} ms apart, seed {part.sampling_seed:#018x}"
    )
    return f"{what}{length}: {', '.join(counts)} ({plan})"


def _labels(ranked: Iterable[pb.LabelScore]) -> str:
    shown = list(ranked)[:_LABELS]
    return "   ".join(f"{s.label} {s.score:.4f}{'' if s.in_competence else ' (not counted)'}" for s in shown)


def _style(score: float) -> str:
    return "red" if score >= _HOT else "yellow" if score >= _WARM else "green"


def plain(text: str, style: str = "") -> Text:
    """Text as it is: nothing in it is markup, and no character of it moves the cursor."""
    return Text("".join(letter if letter.isprintable() else " " for letter in text), style)


def bar(score: float) -> str:
    """A score in [0, 1] as ten cells."""
    full = min(_BAR_CELLS, max(0, round(score * _BAR_CELLS)))
    return "■" * full + "·" * (_BAR_CELLS - full)


def clock(time_ms: int) -> str:
    """Media time: "1:02.345", with hours where there are any: "1:00:02.345"."""
    seconds, milliseconds = divmod(max(0, time_ms), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{seconds:02d}.{milliseconds:03d}"
