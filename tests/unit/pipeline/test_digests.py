"""The record's digests are those of the bytes that were sent, whoever made them: the core, or the pipeline."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image

from floodgate import _core
from floodgate.cli.media import media_options
from floodgate.cli.serve import core_options
from floodgate.config import load_config
from floodgate.core import Core
from floodgate.cores import CoreSplit
from floodgate.decision import DecisionRecord
from floodgate.errors import DeadlineExceeded
from floodgate.models import list_heads
from floodgate.pipeline import Pipeline, PolicySet
from floodgate.policy import load_policy
from floodgate.triton.ensemble import build_ensembles
from floodgate.triton.repository import load_heads
from floodgate.types import (
    Batch,
    BatchOutcome,
    Content,
    Context,
    DegradationKind,
    EnsembleSpec,
    Item,
    Lane,
    Modality,
    Part,
    Role,
    Sampling,
    output_name,
)

TEXT = b"a text of no consequence"


class Halting:
    """An inference server that scores every row 0.25, once it goes on."""

    def __init__(self) -> None:
        self._ensembles: dict[str, EnsembleSpec] = {}
        self.pictures_go_on = asyncio.Event()
        self.pictures_go_on.set()

    async def load(self, generation: int, ensembles: Sequence[EnsembleSpec]) -> None:
        self._ensembles = {spec.name: spec for spec in ensembles}

    async def infer(self, batch: Batch) -> BatchOutcome:
        spec = self._ensembles[batch.ensemble]
        if spec.modality is Modality.IMAGE:
            await self.pictures_go_on.wait()
        return BatchOutcome(
            {
                output_name(head.name, output.name): np.full((batch.rows, output.elements), 0.25, np.float32)
                for head in spec.heads
                for output in head.outputs
            }
        )

    def ready(self) -> bool:
        return True

    async def close(self) -> None:
        return

    def describe(self) -> Mapping[str, Any]:
        return {}


class Records:
    def __init__(self) -> None:
        self.last: DecisionRecord | None = None

    def append(self, record: DecisionRecord) -> bool:
        self.last = record
        return True


@dataclasses.dataclass
class Place:
    """A pipeline over the compiled core, with memory for few pictures at once."""

    pipeline: Pipeline
    core: Core
    backend: Halting
    records: Records

    def decoded(self) -> int:
        return int(self.core.stats()["counters"]["pictures_decoded"])

    async def until_decoded(self, pictures: int) -> None:
        for _ in range(1_000_000):
            if self.decoded() == pictures:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"{pictures} pictures were to be decoded")

    async def record_of(self, *parts: Part, within_s: float = 60.0) -> DecisionRecord:
        item = Item("r", "c", "", "", "UPLOAD", parts, Context(), Lane.STANDARD, "", True, "ENFORCE", "default")
        now_ns = time.monotonic_ns()
        await self.pipeline.moderate(item, now_ns, now_ns + int(within_s * 1e9))
        assert self.records.last is not None
        return self.records.last


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    config = load_config(None, {})
    heads = load_heads(config.model_repository, config.heads)
    labels = {head.name: head.labels for head in heads}
    known = {card.name: card.labels for card in list_heads(config.model_repository)}
    backend, records, ensembles = Halting(), Records(), build_ensembles(heads)
    options = dataclasses.replace(
        core_options(config, CoreSplit(2, 0, 1, 1), media_options(config)),
        decode_workers=1,
        buffers=2,
        credit=1,
        max_batch=1,
    )
    core = Core(options, backend)
    await core.configure(ensembles)
    pipeline = Pipeline(
        core=core,
        backend=backend,
        policies=PolicySet(config.policy, (), lambda path: load_policy(path, config.taxonomy, labels, known)),
        ensembles=ensembles,
        records=records,
        server_version="0",
        preprocessing_digest="",
        sampling=Sampling(16, 500),
        max_frames=256,
    )
    try:
        yield Place(pipeline, core, backend, records)
    finally:
        backend.pictures_go_on.set()
        await core.close()


def photo(padding: int = 0) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((200, 150), 60).convert("RGB").save(out, "JPEG")
    return out.getvalue() + bytes(padding)


def image_part(data: bytes, part_id: str = "photo", role: Role = Role.MAIN) -> Part:
    return Part(part_id, role, Modality.IMAGE, Content(data))


def text_part(data: bytes = TEXT) -> Part:
    return Part("text", Role.CAPTION, Modality.TEXT, Content(data), "en")


def digests(record: DecisionRecord) -> dict[str, str]:
    return {part.result.part_id: part.sha256 for part in record.parts}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_whatever_a_part_is_its_digest_is_of_the_bytes_that_were_sent() -> None:
    sent = {
        "photo": photo(),
        "large": photo(_core.MOST_DIGESTED_BYTES),
        "broken": photo()[:800],
        "none": b"no picture",
        "shown": photo(),
    }
    parts = [image_part(data, part_id) for part_id, data in sent.items() if part_id != "shown"]
    parts += [image_part(sent["shown"], "shown", Role.CONTEXT), text_part()]
    async with place() as here:
        record = await here.record_of(*parts)
    assert digests(record) == {part_id: sha256(data) for part_id, data in (*sent.items(), ("text", TEXT))}
    for part in parts:
        assert part.content.sha256 == digests(record)[part.part_id]


async def test_a_part_that_nobody_came_to_decode_in_time_has_its_digest() -> None:
    sent = photo()
    async with place() as here:
        here.backend.pictures_go_on.clear()
        first = [asyncio.ensure_future(here.record_of(image_part(photo()))) for _ in range(2)]
        await here.until_decoded(len(first))
        # One picture is in flight and one waits for it: there is no room to decode a third.
        record = await here.record_of(image_part(sent), text_part(), within_s=1.0)
        assert here.core.stats()["counters"]["expired_before_decode"] == 1
        assert digests(record) == {"photo": sha256(sent), "text": sha256(TEXT)}
        assert record.degraded == (f"{DegradationKind.DEADLINE.name}:photo/nsfw",)
        here.backend.pictures_go_on.set()
        await asyncio.gather(*first)


async def test_an_item_that_ended_holds_no_bytes_even_while_its_error_is_kept() -> None:
    part = image_part(photo())
    async with place() as here:
        here.backend.pictures_go_on.clear()
        first = [asyncio.ensure_future(here.record_of(image_part(photo()))) for _ in range(2)]
        await here.until_decoded(len(first))
        taken = here.core.stats()["arena_used_bytes"]
        with pytest.raises(DeadlineExceeded) as kept:
            await here.record_of(part, within_s=0.2)
        assert here.core.stats()["counters"]["expired_before_decode"] == 1
        assert here.core.stats()["arena_used_bytes"] == taken
        with pytest.raises(ValueError, match="released"):
            _ = part.content.data
        assert kept.value.__traceback__ is not None
        here.backend.pictures_go_on.set()
        await asyncio.gather(*first)
