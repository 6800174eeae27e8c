"""The pages of the gallery, rendered from their results alone: the same results give the same pages."""

import html
import json
import math
from collections.abc import Iterator, Sequence
from itertools import dropwhile, groupby
from pathlib import Path
from textwrap import fill
from typing import Any

from coloured_text import alternative, coloured, place, printable
from gallery_corpora import CORPORA

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
GALLERY = ROOT / "docs" / "gallery"
WIDTH = 96
"""Characters of a line of a sample; longer lines are wrapped."""
EXCERPT, TAKEN = 600, 300
"""Characters of the first excerpt, and of a sample taken on the way."""
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
    invented = figures["sample"].get("invented")
    yield paragraph(f"{figures['intro']} {spent(figures)} {'It made up' if invented else 'Then it writes'}:")
    yield pre("\n".join(invented) if invented else beginning(written, EXCERPT))
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
    yield paragraph(
        "Samples taken during training, each the first of its step, with the training loss of the last few steps; at "
        "step 0, with the loss on the validation part."
    )
    for taken in figures["samples"]:
        last = " (the end)" if taken["step"] == figures["steps"] else ""
        yield f"**Step {taken['step']:,}**{last}, {bits(taken['nats'])} bits per {unit}"
        yield pre(beginning(taken["text"], TAKEN))
    yield paragraph(
        f"How like the text these samples are, in percent, and how like itself held-out text is, in pieces of "
        f"{figures['style']['length']:,} characters (`unroll evolution` says how each is measured)."
    )
    yield f"![Each measure over the steps of the training]({figures['name']}/evolution.svg)"
    steps = [f"{taken['step']:,}" for taken in figures["samples"]]
    yield table(["step", *steps, "held out"], growth(figures))
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
    first = figures["cells"][0]
    yield paragraph(
        f"`unroll cells` asked all {first['searched']:,} signals of the network for {first['properties']} properties "
        f"of the first {first['symbols']:,} {unit}s of the validation part; these are the best three. The passages are "
        "the network's own. A cell is orange above zero and blue below."
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
        f"A network of {figures['parameters']:,} weights reads {times(figures['rounds'])} in "
        f"{minutes(figures):.0f} minutes of one processor core."
    )


def minutes(figures: dict[str, Any]) -> float:
    """Return the minutes of one core that a training took; by the clock where those are not known."""
    return float(figures["cpu_minutes"] or figures["clock_minutes"])


def times(rounds: float) -> str:
    """Return how often a text was read."""
    if rounds < 0.95:
        return f"{100 * rounds:.0f} % of it"
    return f"it {rounds:.1f} times" if rounds >= 1.05 else "it once"


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


def growth(figures: dict[str, Any]) -> Iterator[list[str]]:
    """Yield a row for each measure of style, a dash where it says nothing."""
    measures = [*(taken["measures"] for taken in figures["samples"]), figures["style"]["ceiling"]]
    for name in figures["style"]["ceiling"]:
        yield [name, *("–" if of[name] is None else f"{100 * of[name]:.0f}" for of in measures)]


def copying(sample: dict[str, Any]) -> str:
    """Return how much of a sample is copied."""
    drawn = f"Temperature {sample['temperature']}, seed {sample['seed']}"
    if "names" in sample:
        return (
            f"Names in bold are in the training part. Of {sample['names']} names drawn, {sample['training']} are; "
            f"{sample['held_out']} are names that Unicode has and training has not seen; the other "
            f"{sample['names'] - sample['training'] - sample['held_out']} were made up. {drawn}."
        )
    return (
        f"What is bold stands in the training part, {COPIED} characters or more at a stretch: "
        f"{percent(sample['share'])} of this, and {percent(sample['share_of_held_out'])} of as much held-out text, for "
        f"texts repeat themselves. The longest such piece has {len(sample['longest'])} characters. {drawn}; long lines "
        "are wrapped."
    )


COPIED = 20
"""As gallery.py has it."""


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.0f} %" if share >= 0.095 or share == 0 else f"{100 * share:.1f} %"


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
            f" **Proven:** where this begins and ends, clamping the cell at its mean costs {ratio:,.0f} times what "
            f"clamping one of {held['matched']} matched cells costs on average, and nothing else suffers as much."
        )
    if held is not None and ratio <= 0:
        return (
            text + " Clamping it costs nothing where this begins and ends: it follows the property, and others keep it."
        )
    if held is not None:
        return text + (
            f" Where this begins and ends, clamping the cell costs {ratio:,.1f} times what clamping a matched cell "
            "costs: it follows the property, and is not alone in keeping it."
        )
    if cell["verdict"] == "tracks":
        return text + " No symbols mark where this changes, so that clamping it proves nothing."
    if cell["verdict"] == "none":
        return text + " By chance the best unit would do as well: nothing was found."
    return text + " The last 8 characters may reveal as much, so this need not be memory."


def remembering(memory: dict[str, Any], unit: str) -> str:
    """Return how far back a network remembers."""
    (model,) = memory["models"]
    losses = {int(context): loss for context, loss in model["context_loss"][:-1]}
    falls = ", ".join(f"{bits(losses[k])} after {k}" for k in (4, 16, 64, 256) if k in losses)
    reached = (
        f"no end is in sight within {memory['limit']}"
        if model["span_99"] is None
        else f"99 % of what history gains is there after {model['span_99']:.0f} {unit}s"
    )
    return (
        f"Read from a fresh state, the loss is {bits(losses[1])} bits after 1 {unit}, {falls}, and "
        f"{bits(model['full_nats'])} after all that came before: {reached}. Measured at {memory['targets']} places of "
        "the validation part."
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
    marked: list[tuple[str, bool]] = [
        (part, False) if isinstance(part, str) else (str(part[0]), bool(part[1])) for part in parts
    ]
    letters = [(letter, mark) for text, mark in marked for letter in map(printable, text)]
    lines = wrapped([*dropwhile(lambda pair: pair[0] == "\n", letters)])
    content = "\n".join(
        "".join(
            f"<b>{escaped}</b>" if mark and escaped.strip() else escaped
            for mark, letters in groupby(line, key=lambda pair: pair[1])
            for escaped in [escape("".join(letter for letter, _ in letters))]
        )
        for line in lines
    )
    return f'<pre tabindex="0">\n{content.rstrip()}\n</pre>'


def escape(text: str) -> str:
    """Return text for HTML in Markdown, in which nothing may look like a tag or a link."""
    return html.escape(text, quote=False).replace("](", "]&#40;")


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
