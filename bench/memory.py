"""Memory of a server that 1,000 pictures of 12 megapixels wait in: how often it holds their encoded bytes.

The inference server is stopped, so that all of them wait, as encoded bytes in the core's arena. Memory is the
proportional set size of the Floodgate process and its decode workers, /proc/<pid>/smaps_rollup: the arena counts once,
however many processes map it. ``held_over_encoded`` is its growth since one picture was judged, over the encoded bytes;
what is fixed (batch buffers, the interpreter, codecs) is there before. Afterwards inference goes on, and every picture
must get the score that it gets alone.
"""

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path

import grpc
from PIL import Image

from bench.processes import descendants, freeze, program, thaw
from bench.report import ROOT, Report
from bench.server import Server, serving
from floodgate.client import build_request
from floodgate.v1 import moderation_pb2 as pb

PICTURES = 1000
SIDES_PX = (4000, 3000)
QUALITY = 60
AT_ONCE = 16
ARENA_BYTES = 3 << 30
_METHOD = "/floodgate.v1.Moderation/Moderate"
_SETTINGS = {
    "FLOODGATE_CORE__ARENA_BYTES": str(ARENA_BYTES),
    "FLOODGATE_LIMITS__BYTES_IN_FLIGHT": str(8 << 30),
    "FLOODGATE_DEFAULT_BUDGET_MS": "3600000",
    "FLOODGATE_TRITON__LIVENESS_S": "3600",
}


def run() -> Report:
    """Runs the benchmark, prints the figures."""
    with serving(_SETTINGS) as server:
        return asyncio.run(_measure(server))


async def _measure(server: Server) -> Report:
    picture = _picture()
    raw = build_request(image=picture, content_id="c", request_id="r", trace=True).SerializeToString()
    stopped = [pid for pid in descendants(server.pid) if not program(pid).endswith("floodgate-decoder")]
    async with grpc.aio.insecure_channel(server.target, options=[("grpc.max_send_message_length", -1)]) as channel:
        call = channel.unary_unary(_METHOD, response_deserializer=pb.ModerateResponse.FromString)
        alone = _score(await call(raw))
        before = held_bytes(server.pid)
        for pid in stopped:
            freeze(pid)
        try:
            waiting = []
            for begun in range(0, PICTURES, AT_ONCE):
                waiting += [call(raw) for _ in range(min(AT_ONCE, PICTURES - begun))]
                await _accepted(server, len(waiting))
            held = held_bytes(server.pid)
            arena = await _metric(server, "floodgate_core_arena_used_bytes")
        finally:
            for pid in stopped:
                thaw(pid)
        for answer in await asyncio.gather(*waiting):
            if _score(answer) != alone:
                raise RuntimeError(f"a picture scored {_score(answer)} after the wait and {alone} alone")
    encoded = len(picture) * PICTURES
    report = Report()
    report.add("encoded_bytes", encoded, "bytes")
    report.add("arena_used_bytes", arena, "bytes")
    report.add("held_over_encoded", (held - before) / encoded, "ratio")
    report.add("held_beside_arena_over_encoded", (held - before - arena) / encoded, "ratio")
    report.add("before_bytes", before, "bytes")
    print(
        f"{PICTURES} JPEGs of {SIDES_PX[0]} x {SIDES_PX[1]} px, {encoded / 1e6:.0f} MB together: "
        f"the server grew from {before / 1e6:.0f} MB by {(held - before) / 1e6:.0f} MB, "
        f"{(held - before) / encoded:.3f} times their bytes; its arena held {arena / 1e6:.0f} MB"
    )
    return report


def _picture() -> bytes:
    """A photograph of 12 megapixels; grain keeps its bytes near a camera's."""
    photo = Image.open(ROOT / "examples" / "rocket.jpg").convert("RGB").resize(SIDES_PX)
    grain = Image.effect_noise(SIDES_PX, 24).convert("RGB")
    out = io.BytesIO()
    Image.blend(photo, grain, 0.35).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def held_bytes(pid: int) -> int:
    """Memory of the Floodgate process and its decode workers, bytes, shared pages shared out."""
    decoders = [below for below in descendants(pid) if program(below).endswith("floodgate-decoder")]
    return sum(_pss_bytes(each) for each in (pid, *decoders))


def _pss_bytes(pid: int) -> int:
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    if found is None:
        raise RuntimeError(f"process {pid} shows no Pss")
    return int(found[1]) * 1024


async def _accepted(server: Server, count: int) -> None:
    """Until the server handles ``count`` items; only its metrics tell."""
    while await _metric(server, "floodgate_in_flight_items") < count:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def _metric(server: Server, name: str) -> float:
    host, _, port = server.metrics_url.removeprefix("http://").partition("/")[0].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /metrics HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    page = (await reader.read()).decode()
    writer.close()
    found = re.search(rf"^{name} (\S+)$", page, re.M)
    if found is None:
        raise RuntimeError(f"there is no metric {name}")
    return float(found[1])


def _score(response: pb.ModerateResponse) -> float:
    (score,) = response.decision.scores
    return float(score.score)
