"""The pages of the gallery, rendered from their results alone: the same results give the same pages."""

import html
import json
import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import Any

from gallery_corpora import CORPORA
from unroll.insight.cells.colours import ink, shade

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
GALLERY = ROOT / "docs" / "gallery"
WIDTH = 96
"""Characters of a line of a sample; longer lines are wrapped."""
TAB = 4
EXCERPT, TAKEN = 600, 300
"""Characters of the first excerpt, and of a sample taken on the way."""
COLUMNS, CELL, ROW = 72, 8.4, 21
"""Characters of a line of a coloured text, and the size of a character in pixels."""
FONT = "ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace"
SHADES = 10
"""Shades of a colour."""
UNITS = {"char": "character", "byte": "byte"}


def write_pages(name: str, pictures: dict[str, bytes]) -> None:
    """Write the page of a corpus with its pictures, and the list of all pages."""
    folder = GALLERY / name
    folder.mkdir(parents=True, exist_ok=True)
    for picture, data in pictures.items():
        (folder / picture).write_bytes(data)
    for path, content in pages().items():
        if path.parent in (GALLERY, folder):
            path.write_text(content)


def pages() -> dict[Path, str]:
    """Return the pages that results exist for, their coloured texts, and the list of them, by path."""
    results = [read(file) for name in CORPORA if (file := RESULTS / f"gallery-{name}.json").exists()]
    made = {GALLERY / "index.md": index(results)}
    for figures in results:
        made[GALLERY / f"{figures['name']}.md"] = page(figures)
        for number, cell in enumerate(figures["cells"], 1):
            made[GALLERY / figures["name"] / f"cell-{number}.svg"] = coloured(cell)
    return made


def read(file: Path) -> dict[str, Any]:
    """Return the results in a file."""
    figures: dict[str, Any] = json.loads(file.read_text())
    return figures


# ---- Markdown


def index(results: Sequence[dict[str, Any]]) -> str:
    """Return the list of pages."""
    blocks = ["# Gallery", paragraph(
        "What small networks write after some minutes of one processor core, each beside what it was at first, what it "
        "copies, how good it is, what its cells keep and how far back it remembers. All samples are the first drawn, "
        "with seed 0. `make gallery NAME=tinyshakespeare`, or the name of another page, makes it again."
    )]  # fmt: skip
    for figures in results:
        blocks += [f"## [{figures['title']}]({figures['name']}.md)", paragraph(figures["intro"] + " " + spent(figures))]
        if figures["line"]:
            blocks.append(pre(figures["line"]))
    return "\n\n".join(blocks) + "\n"


def page(figures: dict[str, Any]) -> str:
    """Return the page of a corpus."""
    return "\n\n".join(sections(figures)) + "\n"


def sections(figures: dict[str, Any]) -> Iterator[str]:
    """Yield the blocks of a page."""
    unit, recipe = UNITS[figures["recipe"]["data"]["level"]], f"recipes/gallery-{figures['name']}.toml"
    written = "".join(text for text, _ in figures["sample"]["pieces"])
    yield f"# {figures['title']}"
    yield paragraph(f"{figures['intro']} {spent(figures)} Then it writes:")
    yield pre(beginning(written, EXCERPT))
    yield "## How it was made"
    yield f"```console\n$ make gallery NAME={figures['name']}\n```"
    yield paragraph(
        f"It needs nothing else: a text that is not there is fetched, the network is trained by "
        f"[`{recipe}`](../../{recipe}), and all that this page shows is measured and drawn again."
    )
    yield table(["what", "here"], made_from(figures))
    if figures["changes"]:
        yield paragraph(figures["changes"])
    yield "## From noise to style"
    yield paragraph("Samples taken during training, each the first of its step, with the loss on the validation part.")
    for taken in figures["samples"]:
        last = " (the end)" if taken["step"] == figures["steps"] else ""
        yield f"**Step {taken['step']:,}**{last}, {bits(taken['nats'])} bits per {unit}"
        yield pre(beginning(taken["text"], TAKEN))
    yield "## A page of it"
    yield paragraph(copying(figures["sample"]))
    yield pre(*figures["sample"]["pieces"])
    yield "## How good it is"
    yield paragraph(
        f"The loss on the {PARTS[figures['loss']['part']]}, {figures['loss']['symbols']:,} {unit}s that training has "
        f"not seen{'' if figures['loss']['part'] == 'test' else ', though its best weights were chosen by them'}."
    )
    yield table(["what", f"bits per {unit}", "nats", "how"], (
        [row["what"], bits(row["nats"]), f"{row['nats']:.3f}", row["how"]] for row in figures["loss"]["rows"]
    ))  # fmt: skip
    yield "## Three cells"
    yield paragraph(
        f"`unroll cells` asked all {figures['cells'][0]['searched']:,} signals of the network for "
        f"{figures['cells'][0]['properties']} properties of the validation part; these are the best three. The "
        "passages are the network's own. A cell is orange above zero and blue below."
    )
    for number, cell in enumerate(figures["cells"], 1):
        yield f"### Unit {place(cell)}: {cell['what']}"
        yield f"![{alternative(cell)}]({figures['name']}/cell-{number}.svg)"
        yield paragraph(evidence(cell))
    yield "## How far back it remembers"
    yield paragraph(remembering(figures["memory"], unit))
    yield f"![The loss after 1, 2, 4 and more {unit}s, and after a disturbed history]({figures['name']}/memory.svg)"


PARTS = {"test": "test part", "valid": "validation part"}


def spent(figures: dict[str, Any]) -> str:
    """Return what the training took, in a sentence."""
    return (
        f"A network of {figures['parameters']:,} weights reads it {times(figures['rounds'])} in "
        f"{minutes(figures):.0f} minutes of one processor core."
    )


def minutes(figures: dict[str, Any]) -> float:
    """Return the minutes of one core that a training took; by the clock where those are not known."""
    return float(figures["cpu_minutes"] or figures["clock_minutes"])


def times(rounds: float) -> str:
    """Return how often a text was read."""
    return f"{rounds:.1f} times" if rounds >= 1.05 else "once" if rounds > 0.95 else f"to {100 * rounds:.0f} %"


def made_from(figures: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the rows of the table of what the page was made from."""
    recipe, machine = figures["recipe"], figures["machine"]
    model, training = recipe["model"], recipe["training"]
    yield ["text", figures["origin"]]
    yield ["file", f"{figures['text']['bytes']:,} bytes, SHA-256 `{figures['text']['sha256']}`"]
    yield ["parts", f"{recipe['data']['split']} percent, in its order; {model['vocab_size']} symbols"]
    layers = f"{model['num_layers']} layer{'s' * (model['num_layers'] > 1)} of {model['hidden_size']}"
    yield ["network", f"LSTM, {layers}, {figures['parameters']:,} weights"]
    window = f"{training['batch_size']} × {training['seq_len']}"
    took = f"{minutes(figures):.0f} minutes of one core, {figures['clock_minutes']:.0f} by the clock beside other work"
    yield ["training", f"{figures['steps']:,} steps of {window} symbols: {took}"]
    yield ["machine", f"{machine['processor']}, Python {machine['python']}, PyTorch {machine['torch']}"]


def copying(sample: dict[str, Any]) -> str:
    """Return how much of a sample is copied."""
    drawn = f"Temperature {sample['temperature']}, seed {sample['seed']}"
    if "names" in sample:
        return (
            f"Names in bold are in the training part. Of {sample['names']} names drawn, {sample['training']} are; "
            f"{sample['held_out']} are names that Unicode has and training has not seen; the other "
            f"{invented(sample)} stand for characters that do not exist. {drawn}."
        )
    return (
        f"What is bold stands in the training part, {COPIED} characters or more at a stretch: "
        f"{percent(sample['share'])} of this, and {percent(sample['share_of_held_out'])} of as much held-out text, for "
        f"texts repeat themselves. The longest such piece has {len(sample['longest'])} characters. {drawn}; long lines "
        "are wrapped."
    )


COPIED = 20
"""As gallery.py has it."""


def invented(sample: dict[str, Any]) -> int:
    """Return the number of names that Unicode lacks."""
    return int(sample["names"] - sample["training"] - sample["held_out"])


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.0f} %" if share >= 0.095 or share == 0 else f"{100 * share:.1f} %"


def place(cell: dict[str, Any]) -> str:
    """Return the name of a cell, as verbs take it."""
    return f"{cell['layer']}:{cell['unit']}"


def alternative(cell: dict[str, Any]) -> str:
    """Return what a coloured text shows, for who does not see it."""
    return f"A passage of the sample, coloured by the value of unit {place(cell)} at each character"


METRICS = {"auroc": "AUROC", "correlation": "correlation"}


def evidence(cell: dict[str, Any]) -> str:
    """Return what is known of a cell."""
    metric, signal = METRICS[cell["metric"]], {"c": "memory cell", "h": "output"}[cell["signal"]]
    underlined = " Underlined: where the property holds." if cell["metric"] == "auroc" else ""
    recent = "" if cell["last_8_characters"] is None else f", the last 8 characters {cell['last_8_characters']:.3f}"
    text = (
        f"{underlined} On held-out text the {metric} of its {signal} is {cell['score']:.3f}; the best unit of an "
        f"untrained network reaches {cell['untrained']:.3f}{recent}."
    )
    held, ratio = cell["ablation"], cell["ablation_ratio"]
    if cell["verdict"] == "causal":
        return text + (
            f" **Proven:** clamped at its mean, the network predicts where this begins and ends {ratio:,.0f} times as "
            f"much worse as with any of {held['matched']} matched cells clamped, on average, and nothing else so much."
        )
    if held is not None:
        return text + (
            f" Clamping it costs {ratio:,.1f} times what clamping a matched cell costs where this begins and ends: it "
            "follows the property, and is not alone in keeping it."
        )
    return text + " Nothing single marks where this changes, so that it was not proven by clamping."


def remembering(memory: dict[str, Any], unit: str) -> str:
    """Return how far back a network remembers."""
    (model,) = memory["models"]
    losses = {int(context): loss for context, loss in model["context_loss"][:-1]}
    falls = ", ".join(f"{bits(losses[k])} after {k}" for k in (1, 4, 16, 64, 256) if k in losses)
    reached = (
        f"no end is in sight within {memory['limit']}"
        if model["span_99"] is None
        else f"99 % of what history gains is there after {model['span_99']:.0f}"
    )
    return (
        f"Read from a fresh state, the loss is {falls} {unit}s, and {bits(model['full_nats'])} bits after all that "
        f"came before: {reached}. Measured at {memory['targets']} places of the validation part."
    )


def bits(nats: float) -> str:
    """Return nats in bits."""
    return f"{nats / math.log(2):.2f}"


def paragraph(text: str) -> str:
    """Return a paragraph in lines of at most 120 characters."""
    return fill(text.strip(), 120, break_long_words=False, break_on_hyphens=False)


def table(head: Sequence[str], rows: Any) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def beginning(text: str, most: int) -> str:
    """Return the first lines of a text, up to so many characters."""
    text = text.lstrip("\n")
    cut = text[:most]
    return (cut[: cut.rfind("\n")] if "\n" in cut[most // 2 :] else cut).rstrip("\n")


def pre(*parts: str | Sequence[Any]) -> str:
    """Return text as it stands, as HTML; of parts (text, marked) the marked are bold."""
    marked: list[tuple[str, bool]] = [(part, False) if isinstance(part, str) else (part[0], part[1]) for part in parts]
    lines = wrapped([(letter, mark) for text, mark in marked for letter in map(printable, text)])
    content = "\n".join(
        "".join(
            f"<b>{escaped}</b>" if mark and escaped.strip() else escaped
            for mark, letters in groupby(line, key=lambda pair: pair[1])
            for escaped in [html.escape("".join(letter for letter, _ in letters), quote=False)]
        )
        for line in lines
    )
    return f'<pre tabindex="0">\n{content.rstrip()}\n</pre>'


def printable(letter: str) -> str:
    """Return a character, or what stands for one that cannot be shown."""
    return (
        " " * TAB
        if letter == "\t"
        else letter
        if letter == "\n" or letter.isprintable()
        else "\N{REPLACEMENT CHARACTER}"
    )


def wrapped(letters: list[tuple[str, bool]]) -> Iterator[list[tuple[str, bool]]]:
    """Yield lines of at most WIDTH characters, broken at blanks where there are any."""
    line: list[tuple[str, bool]] = []
    for letter, mark in [*letters, ("\n", False)]:
        if letter == "\n":
            yield line
            line = []
            continue
        line.append((letter, mark))
        if len(line) > WIDTH:
            blank = max((k for k, (other, _) in enumerate(line) if other == " " and k > WIDTH // 2), default=WIDTH - 1)
            yield line[: blank + 1]
            line = line[blank + 1 :]


# ---- coloured texts


def coloured(cell: dict[str, Any]) -> str:
    """Return a passage as SVG, the value of a cell behind each character, and a line under where its property holds."""
    binary = cell["metric"] == "auroc"
    rows: list[list[tuple[str, int, bool]]] = [[]]
    for letter, value, label in zip(cell["text"], cell["values"], cell["labels"], strict=True):
        level = round(value * SHADES / 100)
        for shown in "↵" if letter == "\n" else printable(letter):
            if len(rows[-1]) == COLUMNS:
                rows.append([])
            rows[-1].append((shown, level, binary and label > 0))
        if letter == "\n":
            rows.append([])
    rows = [row for row in rows if row]
    width, height = COLUMNS * CELL + 24, len(rows) * ROW + 24
    body = [element for number, row in enumerate(rows) for element in line_of(row, 12 + number * ROW)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" width="{width:g}" height="{height}" '
        f'role="img">\n<title>{alternative(cell)}</title>\n'
        f'<rect width="100%" height="100%" rx="6" fill="#fff"/>\n'
        f'<g font-family="{FONT}" font-size="14" xml:space="preserve">\n' + "\n".join(body) + "\n</g>\n</svg>\n"
    )


def line_of(row: list[tuple[str, int, bool]], top: int) -> Iterator[str]:
    """Yield the elements of a line: backgrounds, letters, underlines."""
    places = list(enumerate(row))
    for level, group in groupby(places, key=lambda pair: pair[1][1]):
        stretch = list(group)
        if level:
            yield rectangle(stretch[0][0], top, len(stretch), ROW - 2, background(level))
    for colour, group in groupby(places, key=lambda pair: ink(background(pair[1][1]))):
        stretch = list(group)
        text = "".join(letter for _, (letter, _, _) in stretch)
        if text.strip():
            yield (
                f'<text x="{left(stretch[0][0]):g}" y="{top + 14}" textLength="{len(stretch) * CELL:.4g}" '
                f'fill="{hexadecimal(colour)}">{html.escape(text, quote=False)}</text>'
            )
    for holds, group in groupby(places, key=lambda pair: pair[1][2]):
        stretch = list(group)
        if holds:
            yield rectangle(stretch[0][0], top + 16, len(stretch), 1.5, (0, 0, 0))


def rectangle(column: int, top: int, columns: int, height: float, colour: tuple[int, int, int]) -> str:
    """Return a rectangle behind or below so many characters."""
    place = f'x="{left(column):g}" y="{top}" width="{columns * CELL:.4g}" height="{height:g}"'
    return f'<rect {place} fill="{hexadecimal(colour)}"/>'


def left(column: int) -> float:
    """Return where a column begins."""
    return round(12 + column * CELL, 1)


def background(level: int) -> tuple[int, int, int]:
    """Return the colour of a level from -SHADES to SHADES."""
    return shade(level / SHADES)


def hexadecimal(colour: tuple[int, int, int]) -> str:
    """Return a colour as SVG has it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
