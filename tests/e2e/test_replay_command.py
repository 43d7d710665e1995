"""A policy team sees what a change would do before it does it."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from bench.report import ROOT
from bench.server import Server
from floodgate import Client
from floodgate.cli import app

INSULT = "You are a stupid idiot and everybody hates you."


def test_replaying_a_log_by_a_stricter_policy_shows_the_flips(server: Server, client: Client, tmp_path: Path) -> None:
    for number in range(3):
        client.moderate(text=INSULT, content_id=f"insult-{number}", surface="message", timeout=60)
        client.moderate(text="What a lovely day", content_id=f"kind-{number}", surface="message", timeout=60)
    stricter = tmp_path / "stricter.yaml"
    text = (ROOT / "policies/default.yaml").read_text(encoding="utf-8")
    warn = "{id: harassment.toxicity/warn, at: 0.9, restrict: [{kind: LABEL, param: may_offend}]}"
    assert warn in text
    stricter.write_text(text.replace(warn, "{id: harassment.toxicity/warn, at: 0.9, restrict: [REMOVE]}"), "utf-8")
    arguments = ["policy", "replay", str(stricter), "--log", str(server.decision_log)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    (flip,) = [line for line in result.output.splitlines() if "LABEL (LABEL)" in line]
    assert "REMOVE (REMOVE)" in flip
    assert "insult-" in flip
    assert "kind-" not in result.output
