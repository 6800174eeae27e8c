"""The page starts trainings, watches them and shows them from the first visit on."""

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

from cli.command import text
from page.conftest import Running, Visit, probed, start_studio
from serve.studio.asking import trainers


def test_the_page_starts_a_training_and_watches_it(visit: Visit, studio: Running) -> None:
    page = visit("#/train?new=1")
    page.get_by_label("The text").fill(text(12_000))
    page.get_by_label("10 min").check()
    page.get_by_label("Name").fill("pasted")
    page.get_by_label("Units").fill("16")
    page.get_by_role("button", name="Start").click()
    probed(page, "train", 'it.run === "pasted" && it.state === "running" && it.step > 0', timeout=300_000)
    page.wait_for_selector(".training-progress")
    page.get_by_role("button", name="Pause").click()
    probed(page, "train", 'it.state === "paused"', timeout=120_000)
    page.get_by_role("button", name="Resume").click()
    probed(page, "train", 'it.state === "running"', timeout=120_000)
    page.get_by_role("button", name="Pause").click()
    probed(page, "train", 'it.state === "paused"', timeout=120_000)
    screen = probed(page, "train", "it.samples.length > 0")
    recorded = (studio.runs / "pasted" / "samples.jsonl").read_text().splitlines()
    assert [one["text"] for one in screen["samples"]] == [json.loads(line)["text"] for line in recorded]


def test_the_first_visit_shows_a_model_that_learns(browser: Any, tmp_path: Path) -> None:
    running = start_studio(runs=tmp_path / "runs", texts=tmp_path)
    try:
        page = browser.new_page()
        page.goto(running.page)
        page.wait_for_selector("h1:text('Train')")
        screen = probed(page, "train", "it.samples.length > 0 && it.step > 0", timeout=120_000)
        assert screen["run"] == "first"
        page.keyboard.press("2")
        reading = probed(page, "type", "it.symbols.length > 0", timeout=120_000)
        assert math.isclose(sum(math.exp(-nats) for nats in reading["next"]["nats"]), 1, rel_tol=1e-5)
        # The server is gone, and the page says so.
        os.kill(running.process.pid, signal.SIGKILL)
        page.wait_for_selector(".server-lost", timeout=120_000)
        page.close()
    finally:
        running.process.kill()
        running.process.communicate()
        for pid in trainers(tmp_path):
            os.kill(pid, signal.SIGINT)
