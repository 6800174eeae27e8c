"""Metrics: what is written is counted."""

from pathlib import Path

from serve.batching.streaming import Eventually
from serve.live import Live, serving


def test_counts_are_told(folders: dict[str, Path], eventually: Eventually) -> None:
    with serving(folders["char"], slots=64) as live:
        check_counts(live, eventually)


def check_counts(live: Live, eventually: Eventually) -> None:
    eventually(lambda: "unroll_event_loop_delay_seconds_count 0.0" not in live.get("/metrics").text)
    live.openai().completions.create(model="char", prompt="the cat", max_tokens=33, n=2)
    text = live.get("/metrics").text
    metrics = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert metrics["unroll_generated_tokens_total"] == "66.0" and metrics["unroll_prompt_tokens_total"] == "8.0"
    assert metrics['unroll_slots{state="free"}'] == "64.0" and metrics["unroll_requests_running"] == "0.0"
    assert metrics['unroll_requests_total{code="200",route="/v1/completions"}'] == "1.0"
    assert float(metrics["unroll_time_to_first_token_seconds_count"]) == 2
    assert float(metrics["unroll_event_loop_delay_seconds_count"]) >= 1
    assert live.get("/a<b").status_code == 404
    assert 'route="other"' in live.get("/metrics").text and "a<b" not in live.get("/metrics").text
