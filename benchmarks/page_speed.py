"""The studio's page in a real browser: first paint, from a keystroke to its bars, recolouring a text, a heat map.

`python benchmarks/page_speed.py MODEL` starts `unroll studio MODEL` and drives Chromium; figures are milliseconds.
"""

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from measure import show, unroll_command

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
KEYSTROKE = """
async (symbol) => {
  const box = document.querySelector("[data-text]");
  const before = window.__studio.type.text;
  const begun = performance.now();
  box.setRangeText(symbol, box.value.length, box.value.length, "end");
  box.dispatchEvent(new InputEvent("input", { bubbles: true }));
  for (;;) {
    await new Promise(requestAnimationFrame);
    const now = window.__studio.type;
    if (now.text === before + symbol && now.symbols.length === Array.from(now.text).length) break;
  }
  await new Promise(requestAnimationFrame);
  return performance.now() - begun;
}
"""
RECOLOUR = """
async () => {
  // The frame's own Passage, painted twice: what a change of unit costs once its numbers are here.
  const { html, render } = await import("/vendor/preact.js");
  const { Passage } = await import("/frame/passage.js");
  const { paint } = await import("/frame/colour.js");
  const symbols = Array.from({ length: 5000 }, (_, k) => (k % 80 === 79 ? "\\n" : "abcdefgh "[k % 9]));
  const box = document.createElement("div");
  document.querySelector("main").append(box);
  const times = [];
  for (let turn = 0; turn < 12; turn += 1) {
    const colour = (element, k, theme) => paint(element, "diverging", Math.sin(k * (turn + 1)), theme);
    const begun = performance.now();
    render(html`<${Passage} symbols=${symbols} paint=${colour} painted=${turn} label="recoloured" />`, box);
    await new Promise((resolve) => setTimeout(resolve));
    box.getBoundingClientRect();
    times.push(performance.now() - begun);
  }
  box.remove();
  return times.slice(2);
}
"""
HEAT = """
async () => {
  // As a heat map is painted: one pixel a value, by a table of 256 colours, then scaled.
  const { table } = await import("/frame/colour.js");
  const [wide, high] = [2000, 512];
  const values = Uint8Array.from({ length: wide * high }, (_, k) => (k * 2654435761) >>> 24);
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: wide, height: high });
  const context = canvas.getContext("2d");
  const times = [];
  for (let turn = 0; turn < 12; turn += 1) {
    const begun = performance.now();
    const colours = new Uint32Array(table("diverging").map(([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r));
    const image = context.createImageData(wide, high);
    const pixels = new Uint32Array(image.data.buffer);
    for (let k = 0; k < values.length; k += 1) pixels[k] = colours[values[k]];
    context.putImageData(image, 0, 0);
    context.getImageData(0, 0, 1, 1);
    times.push(performance.now() - begun);
  }
  return times.slice(2);
}
"""


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a model directory")
    parser.add_argument("--keys", type=int, default=200, help="keystrokes [default: 200]")
    parser.add_argument("--loads", type=int, default=10, help="loads of the page [default: 10]")
    told = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = unroll_command("studio", told.model, "--runs", folder, "--port", "0", "--no-open", "--json")
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            said += server.stdout.readline()
        ready = json.loads(said)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            rows = measured(browser, ready, told.keys, told.loads)
        finally:
            browser.close()
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=30)
    show({"benchmark": "page", "model": told.model.name, "keys": told.keys, "milliseconds": rows})


def measured(browser: Any, ready: dict[str, Any], keys: int, loads: int) -> dict[str, Any]:
    """Return the figures of a studio that runs, in milliseconds."""
    name = ready["models"][0]
    paints, shown = [], []
    for _ in range(loads):
        page = browser.new_page()
        page.goto(ready["page"])
        page.wait_for_selector("main h1")
        shown.append(page.evaluate("performance.now()"))
        paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        page.close()
    page = browser.new_page()
    page.goto(ready["page"])
    page.wait_for_selector("main h1")
    page.evaluate("name => { location.hash = `#/type?model=${name}`; }", name)
    page.wait_for_function("() => window.__studio?.type?.symbols.length > 0")
    symbols = page.evaluate("window.__studio.type.symbols")
    text = "".join(symbols) * (keys // len(symbols) + 1)
    strokes = [page.evaluate(KEYSTROKE, symbol) for symbol in text[:keys]]
    return {
        "first_paint": summed(paints),
        "screen_shown": summed(shown),
        "keystroke_to_bars": summed(strokes),
        "recolour_5000_symbols": summed(page.evaluate(RECOLOUR)),
        "heat_map_2000_x_512": summed(page.evaluate(HEAT)),
    }


def summed(values: list[float]) -> dict[str, float]:
    """Return median, 95th percentile and largest."""
    ordered = sorted(values)
    most = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {"median": round(statistics.median(ordered), 1), "p95": round(most, 1), "largest": round(ordered[-1], 1)}


if __name__ == "__main__":
    main()
