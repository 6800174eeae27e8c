"""The screen Cells in a real browser: another unit over 5,000 symbols, another signal of 512 units over 2,000 symbols.

`python benchmarks/page_inside.py` makes an LSTM of random weights, starts `unroll studio` with it and drives Chromium.
Figures are milliseconds: of the painting alone, until it is on the screen, and from the key, with the request.
"""

import argparse
import json
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from measure import show, unroll_command
from page_speed import FLAGS, summed
from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.directory import WEIGHTS, save_description
from unroll.data.tokenizer import CharTokenizer
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model

LETTERS = "abcdefghijklmnopqrstuvwxyz ,.\n"
FROM_KEY = """
async ([key, name]) => {
  const count = () => window.__studio.timings?.[name]?.length ?? 0;
  const [before, begun] = [count(), performance.now()];
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  while (count() === before) await new Promise(requestAnimationFrame);
  return performance.now() - begun;
}
"""


def save_random(folder: Path, units: int) -> None:
    """Write a model directory of random weights."""
    folder.mkdir()
    torch.manual_seed(0)
    tokenizer = CharTokenizer.learn(LETTERS)
    model = Model(ModelConfig(vocab_size=tokenizer.vocab_size, embedding_size=64, hidden_size=units))
    tokenizer.save(folder / "tokenizer.json")
    info = {"step": 0, "tokens_seen": None, "valid_nats": None, "averaged": False}
    save_tensors(folder / WEIGHTS, dict(model.named_parameters()), info)
    save_description(folder, model.config, tokenizer)


def measured(page: Any, symbols: int, keys: list[str], name: str, turns: int) -> dict[str, Any]:
    """Return times of what keys bring about on the screen Cells, over a text of so many symbols."""
    text = "".join(np.random.default_rng(0).choice(list(LETTERS), symbols))
    asked = """async (text) => (await (await import("/frame/fetch.js")).api("texts", { text })).id"""
    number = page.evaluate(asked, text)
    page.evaluate("place => { location.hash = place; }", f"#/cells?model=random&textid={number}&unit=0")
    ready = f"() => window.__studio?.cells?.values.length === {symbols} && window.__studio.cells.order.length"
    page.wait_for_function(ready, timeout=600_000)
    page.wait_for_timeout(1000)
    page.evaluate("() => { window.__studio.timings = {}; }")
    from_key = [page.evaluate(FROM_KEY, [keys[turn % len(keys)], name]) for turn in range(turns)]
    painting = page.evaluate(f"window.__studio.timings.{name}")
    return {"symbols": symbols, "painting": summed(painting), "from_key": summed(from_key)}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=40, help="key presses [default: 40]")
    parser.add_argument("--units", type=int, default=512, help="units of the layer [default: 512]")
    told = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        save_random(Path(folder) / "random", told.units)
        command = unroll_command(
            "studio", Path(folder) / "random", "--runs", folder, "--port", "0", "--no-open", "--json"
        )
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            said += server.stdout.readline()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            page = browser.new_page()
            page.goto(json.loads(said)["page"])
            page.wait_for_selector("main h1", timeout=600_000)
            rows = {
                "recolour": measured(page, 5000, ["]", "["], "recolour", told.turns),
                "heat_map": measured(page, 2000, ["h", "c", "f", "g"], "heat", told.turns),
            }
        finally:
            browser.close()
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=600)
    show({"benchmark": "page_inside", "units": told.units, "turns": told.turns, "milliseconds": rows})


if __name__ == "__main__":
    main()
