"""What int8 saves on this CPU and what it costs in scores: model CPU per image, score error, ranks, verdict flips.

*Cost.* bf16 and int8 of each head score the same views at the same batch sizes on one thread, in turns within one run;
``cpu_bf16_over_int8`` is the median of bf16's CPU time over int8's, nsfw, at the head's largest batch.

*Parity.* Against float32, on views that int8 was not calibrated with: the photos are halved, and each half is scored by
a model that was calibrated with the other. Verdict flips are counted at every threshold of the default policy for the
head's labels. The photos are few (``photos``), none is explicit, and their crops are no other subjects: figures for
one's own platform come from one's own photos, by PHOTOS=folder.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from bench.report import ROOT, Report, VoidRun
from floodgate.models.calibration import find_photos, views_of
from floodgate.models.quantization import quantize
from floodgate.triton.repository import load_head
from floodgate.types import HeadSpec, ImageViewSpec

REPOSITORY = ROOT / "model_repository"
POLICY = ROOT / "policies" / "default.yaml"
CALIBRATION_CROPS = 12
SCORED_CROPS = 40
ROUNDS = 15
A_ROUND = 48  # images
_AGAIN = ("portrait.png", "slides.gif")  # examples that show others' subjects, which would be on both sides
_TYPES = {"f32": ov.Type.f32, "bf16": ov.Type.bf16}


def run() -> Report:
    """Runs the benchmark for every head that has an int8 configuration and its weights here; prints the table."""
    heads = [
        path.parents[1].name
        for path in sorted(REPOSITORY.glob("*/configs/openvino-int8.pbtxt"))
        if (path.parents[1] / "1" / "model.onnx").is_file()
    ]
    if not heads:
        raise VoidRun("no head that can run in int8 has its weights here; run: floodgate models pull nsfw")
    report = Report()
    table = Table("figure", "value", "", box=None, pad_edge=False)
    for name in heads:
        _measure(load_head(REPOSITORY, name), "" if name == "nsfw" else f"{name}_", report)
    for figure, value in report.figures.items():
        table.add_row(figure, f"{value:g}", report.units[figure])
    Console().print(table)
    return report


def _measure(head: HeadSpec, prefix: str, report: Report) -> None:
    assert isinstance(head.view, ImageViewSpec)
    weights = (REPOSITORY / head.name / "1" / "model.onnx").read_bytes()
    folder = os.environ.get("PHOTOS")
    photos = [path for path in find_photos(Path(folder) if folder else ROOT / "examples") if path.name not in _AGAIN]
    halves = (photos[::2], photos[1::2])
    scores: dict[str, list[np.ndarray]] = {"f32": [], "bf16": [], "int8": []}
    with tempfile.TemporaryDirectory() as scratch:
        for calibrated, scored in (halves, halves[::-1]):
            taught = [view for photo in calibrated for view in views_of(photo, head.view, CALIBRATION_CROPS)]
            models = _models(weights, quantize(weights, taught, head.name, "int8"), Path(scratch))
            views = np.stack([view for photo in scored for view in views_of(photo, head.view, SCORED_CROPS)])
            for precision, model in models.items():
                scores[precision].append(_score(model, views, head.max_batch))
        _cost(models, views, head, prefix, report)
    report.add(f"{prefix}photos", len(photos), "pictures, each scored by a model that was not calibrated with it")
    together = {precision: np.concatenate(parts) for precision, parts in scores.items()}
    _parity(together, head, prefix, report)


def _models(weights: bytes, int8: bytes, scratch: Path) -> dict[str, Any]:
    """Inference requests as the CPU runner makes them: float32, bf16, and int8 with bf16 for what is not int8."""
    core = ov.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise VoidRun("this CPU has no bf16 to compare with")
    requests = {}
    for name, content, precision in (("f32", weights, "f32"), ("bf16", weights, "bf16"), ("int8", int8, "bf16")):
        file = scratch / f"{name}.onnx"
        file.write_bytes(content)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": 1,
            "INFERENCE_PRECISION_HINT": _TYPES[precision],
        }
        requests[name] = core.compile_model(core.read_model(file), "CPU", settings).create_infer_request()
    return requests


def _score(request: Any, views: np.ndarray, batch: int) -> np.ndarray:
    """``scores`` of all views, float32 [n, labels]."""
    parts = []
    for start in range(0, len(views), batch):
        request.infer({"image": views[start : start + batch]}, share_inputs=True)
        parts.append(request.get_tensor("scores").data.copy())
    return np.concatenate(parts)


def _cost(models: Mapping[str, Any], views: np.ndarray, head: HeadSpec, prefix: str, report: Report) -> None:
    for batch in sorted({1, head.max_batch // 2, head.max_batch}):
        rows = np.ascontiguousarray(views[:batch])
        spent: dict[str, list[float]] = {"bf16": [], "int8": []}
        for precision in spent:
            models[precision].infer({"image": rows}, share_inputs=True)  # prepares the kernels of this size
        for turn in range(ROUNDS):
            for precision in sorted(spent, reverse=turn % 2 == 0):
                calls = max(1, A_ROUND // batch)
                began = time.process_time()
                for _ in range(calls):
                    models[precision].infer({"image": rows}, share_inputs=True)
                spent[precision].append((time.process_time() - began) / (calls * batch))
        ratio = statistics.median(b / i for b, i in zip(spent["bf16"], spent["int8"], strict=True))
        for precision, times in spent.items():
            report.add(f"{prefix}{precision}_ms_batch_{batch}", 1e3 * statistics.median(times), "CPU ms per image")
        report.add(f"{prefix}cpu_bf16_over_int8_batch_{batch}", ratio, "model CPU time per image, ratio")
        if batch == head.max_batch:
            report.add(f"{prefix}cpu_bf16_over_int8", ratio, "model CPU time per image, ratio, largest batch")


def _parity(scores: Mapping[str, np.ndarray], head: HeadSpec, prefix: str, report: Report) -> None:
    exact = scores["f32"]
    thresholds = {label: list(_thresholds(label)) for label in head.labels}
    decided = len(exact) * sum(len(each) for each in thresholds.values())
    report.add(f"{prefix}views", len(exact), "views scored")
    report.add(f"{prefix}views_above_0_2", int((exact.max(1) >= 0.2).sum()), "of them, by the highest score in float32")
    for precision in ("bf16", "int8"):
        error = np.abs(scores[precision] - exact)
        flips = sum(
            int(((exact[:, column] >= at) != (scores[precision][:, column] >= at)).sum())
            for column, label in enumerate(head.labels)
            for at in thresholds[label]
        )
        where = f"{prefix}{precision}"
        report.add(f"{where}_score_error_max", float(error.max()), "score, against float32")
        report.add(f"{where}_score_error_mean", float(error.mean()), "score, against float32")
        report.add(f"{where}_score_error_p99", float(np.quantile(error, 0.99)), "score, against float32")
        ranks = [rank_correlation(exact[:, c], scores[precision][:, c]) for c in range(exact.shape[1])]
        report.add(f"{where}_rank_correlation", statistics.fmean(ranks), "Spearman's rho, mean over labels")
        report.add(f"{where}_verdict_flips", flips, f"of {decided} comparisons with a threshold of the default policy")


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rho, without ties' finer points: scores are float32 and hardly ever equal."""
    ranks = [np.argsort(np.argsort(values)).astype(np.float64) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def _thresholds(label: str) -> Iterator[float]:
    """Every threshold that the default policy has for a label, overrides included, once."""
    entry = YAML(typ="safe").load(POLICY)["labels"].get(label, {})
    ladders: list[Sequence[Mapping[str, Any]]] = [entry.get("ladder", [])]
    ladders += [override.get("ladder", []) for override in entry.get("overrides", [])]
    yield from sorted({float(rung["at"]) for ladder in ladders for rung in ladder})
