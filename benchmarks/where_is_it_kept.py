"""Where is it kept? Alice … she, Bob … he: a small LSTM, its names probed, its units traced, its state patched."""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import style
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from measure import run_json, show
from unroll.artifact.open import Opened, open_model
from unroll.insight.longrange.sentences import ENGLISH
from unroll.insight.longrange.tasks import TASKS, Task, draw, lines
from unroll.insight.patching.measure import Choice, chosen_mask, masks_of_units, part_masks, patched_values, state_after
from unroll.insight.plots import COLOURS, DPI, FORMATS, GREY, MARKERS, STYLE, check_picture
from unroll.insight.trace import in_float64, network_of
from unroll.lm.intervals import wilson
from unroll.nn.model import Model
from unroll.state import State

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

TASK = next(task for task in TASKS.values() if isinstance(task, Task) and task.name == "pronouns")
NAMES = (*ENGLISH["WOMAN"].split(), *ENGLISH["MAN"].split())
WOMEN = np.array([name in ENGLISH["WOMAN"].split() for name in NAMES])
FARTHEST = 30
"""Of training."""
DISTANCES = (5, 10, 20, 40, 60)
SIZES = (1, 2, 4, 8)
DRAWS = 20
"""Random sets of units, for each size, and untrained networks."""
SHUFFLES = 200


@dataclass(frozen=True)
class Pairs:
    """Test sentences of one layout up to the pronoun (B, T), about a woman or a man, and the same with the other."""

    ours: Ids
    theirs: Ids
    women: NDArray[np.bool_]
    """(B,) whether `ours` is about a woman."""
    cue: int
    """Where the name stands."""


def main() -> None:
    """Train, probe, trace, patch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a word model of such sentences; trained anew if not given")
    parser.add_argument("--sentences", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--hidden", type=int, default=48)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--distance", type=int, default=20, help="words from the name to the pronoun")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the picture to write, .svg or .png")
    told = parser.parse_args()
    if told.out:
        check_picture(told.out)
    random = np.random.default_rng(told.seed)
    torch.manual_seed(told.seed)
    with tempfile.TemporaryDirectory() as folder:
        path, training = told.model, None
        if path is None:
            path = Path(folder) / "model"
            training = train(told, Path(folder) / "pronouns.txt", path)
        opened = open_model(path)
        network = in_float64(network_of(opened))
    choice = Choice(network, *(int(opened.tokenizer.encode(word)[0]) for word in TASK.candidates))
    accuracy = {
        distance: share(np.concatenate([right(choice, opened, some) for some in pairs(opened, random, 400, distance)]))
        for distance in DISTANCES
    }
    say("pronouns right, by distance", accuracy)
    probed = probe(opened, network, random)
    say("probe of the embeddings", probed)
    finding, testing = (list(pairs(opened, random, told.pairs, told.distance)) for _ in range(2))
    ranked = d_prime(network, opened, finding, told.distance)
    say("units by d′", ranked[:3])
    patched = flips(choice, opened, finding, testing, ranked, random)
    say("patching", patched)
    if told.out:
        draw_picture(told.out, network, opened, testing[0], ranked, patched)
    show(
        {
            "benchmark": "where is it kept",
            "task": "pronouns: the person whom the story is about, others are mentioned meanwhile",
            "training": training,
            "pronoun_accuracy": accuracy,
            "distance": told.distance,
            "embeddings": probed,
            "units": ranked[:10],
            "patching": patched,
        }
    )


def train(told: argparse.Namespace, text: Path, out: Path) -> dict[str, Any]:
    """Train an LSTM of words on the sentences by the command, one thread."""
    text.write_text("\n".join(lines(TASK, np.random.default_rng(told.seed), told.sentences, FARTHEST)) + "\n")
    settings = {
        "hidden_size": told.hidden,
        "embedding_size": 24,
        "num_layers": told.layers,
        "batch_size": 32,
        "seq_len": 64,
        "learning_rate": 0.01,
        "dropout": 0.0,
        "reset_probability": 0.1,
        "threads": 1,
        "sample_length": 20,
    }
    flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    seeds = ["--seed", str(told.seed), "--device", "cpu"]
    made = run_json("train", text, "--level", "word", "--steps", str(told.steps), *flags, *seeds, "--out", out)
    kept = ("valid_nats_per_token", "parameters", "wall_seconds")
    return {"sentences": told.sentences, "distances": [TASK.least, FARTHEST], "steps": told.steps, **settings} | {
        name: made[name] for name in kept
    }


def pairs(opened: Opened, random: np.random.Generator, count: int, distance: int) -> Iterator[Pairs]:
    """Yield test sentences up to the pronoun, as many layouts as there are in each, with a name of the other kind."""
    each = round(math.sqrt(count))
    for first in range(0, count, each):
        batch = draw(TASK, random, min(each, count - first), distance, "test")
        place = batch.places[-1]
        cue = place - distance
        texts = [TASK.tokenizer.decode(row).split() for row in batch.ids[:, :place]]
        women = np.array([text[cue] in ENGLISH["WOMAN"].split() for text in texts])
        others = [random.choice(ENGLISH["MAN" if woman else "WOMAN"].split()) for woman in women]
        swapped = [[*text[:cue], other, *text[cue + 1 :]] for text, other in zip(texts, others, strict=True)]
        ours, theirs = (
            np.stack([opened.tokenizer.encode(" ".join(text)) for text in made]) for made in (texts, swapped)
        )
        yield Pairs(ours, theirs, women, cue)


@torch.no_grad()
def decisions(choice: Choice, opened: Opened, ids: Ids) -> Floats:
    """Return D = log p(she) - log p(he) (B,) after each sentence (B, T)."""
    start = np.full((len(ids), 1), opened.tokenizer.start_id)
    return choice(choice.network.hidden(torch.from_numpy(np.hstack([start, ids])))[0][:, -1])


def right(choice: Choice, opened: Opened, found: Pairs) -> NDArray[np.bool_]:
    """Return whether the right pronoun is the more probable one (B,)."""
    return np.asarray((decisions(choice, opened, found.ours) > 0) == found.women)


def probe(opened: Opened, network: Model, random: np.random.Generator) -> dict[str, Any]:
    """Tell women's from men's names by their embeddings, each name by a probe that has not seen it.

    Chance is not 1/2: of balanced names, one left out, the others are mostly of the other kind. So the same is done
    with shuffled labels.
    """
    ids = np.concatenate([opened.tokenizer.encode(name) for name in NAMES])
    vectors = network.embedding.weight[torch.from_numpy(ids)].numpy()
    untrained = [Model(network.config).embedding.weight.detach().numpy()[ids] for _ in range(DRAWS)]
    null = [probed(vectors, random.permutation(WOMEN)) for _ in range(SHUFFLES)]
    accuracy = probed(vectors, WOMEN)
    return {
        "names": len(NAMES),
        "accuracy": accuracy,
        "untrained_mean": float(np.mean([probed(some, WOMEN) for some in untrained])),
        "shuffled_mean": float(np.mean(null)),
        "shuffled_95": float(np.quantile(null, 0.95)),
        "p": (1 + sum(one >= accuracy for one in null)) / (1 + SHUFFLES),
    }


def probed(vectors: Floats, labels: NDArray[np.bool_]) -> float:
    """Return the share of names that a logistic regression of the others tells right."""
    model = make_pipeline(StandardScaler(), LogisticRegression())
    return float((cross_val_predict(model, vectors, labels, cv=LeaveOneOut()) == labels).mean())


@torch.no_grad()
def traced(network: Model, opened: Opened, ids: Ids) -> dict[str, Floats]:
    """Return h and c of every layer (T, B, H) by name, after each symbol of the sentences (B, T)."""
    start = np.full((len(ids), 1), opened.tokenizer.start_id)
    _, _, inside = network.trace(torch.from_numpy(np.hstack([start, ids])))
    layers = ((k, name, layer[name]) for k, layer in enumerate(inside) for name in ("h", "c"))
    return {f"layer{k}/{name}": values[:, 1:].transpose(0, 1).numpy() for k, name, values in layers}


def d_prime(network: Model, opened: Opened, found: list[Pairs], distance: int) -> list[dict[str, Any]]:
    """Return units by the least d′ of their activity at any word from the name to the last before the pronoun.

    d′ = (mean over women's sentences - over men's) / √ of the mean of both variances. Who carries the person tells
    them apart everywhere on the way, with one sign.
    """
    women = np.concatenate([some.women for some in found])
    parts = [traced(network, opened, some.ours) for some in found]
    rows = []
    for name in parts[0]:
        way = np.concatenate([part[name][-distance:] for part in parts], axis=1)  # (distance, B, H)
        spread = np.sqrt((way[:, women].var(axis=1) + way[:, ~women].var(axis=1)) / 2)
        each = (way[:, women].mean(axis=1) - way[:, ~women].mean(axis=1)) / np.maximum(spread, 1e-9)  # (distance, H)
        least = np.where(each.mean(axis=0) > 0, each.min(axis=0), (-each).min(axis=0))
        rows += [
            {"layer": int(name[5]), "unit": k, "signal": name[-1], "least_d_prime": float(least[k]),
             "mean_d_prime": float(each[:, k].mean())}
            for k in range(len(least))
        ]  # fmt: skip
    return sorted(rows, key=lambda row: -row["least_d_prime"])


def flips(
    choice: Choice, opened: Opened, finding: list[Pairs], testing: list[Pairs], ranked: list[dict[str, Any]],
    random: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    """Patch midway between name and pronoun; return the share of sentences that turn, by what is patched.

    Units are ranked on some pairs, by tracing and by what each does when patched alone, and are patched, h and c
    together, in others; beside them as many at random of those that are not among them, drawn anew for each pair.
    Pairs that the model does not decide rightly both ways are left out.
    """
    network = choice.network
    units, unit_masks = masks_of_units(network, (), ())
    every = [(int(layer), int(unit)) for layer, unit in units]
    found = [(own, other, values) for own, other, patched in cases(choice, opened, finding)
             for values in [patched(unit_masks)]]  # fmt: skip
    if not found:
        raise SystemExit("the model decides no pair rightly both ways: train it longer, or choose a shorter --distance")
    alone = np.mean([(values - own) / (other - own) for own, other, values in found], axis=0)
    orders = {
        "by tracing": list(dict.fromkeys((row["layer"], row["unit"]) for row in ranked)),
        "by patching": [every[u] for u in np.argsort(-alone)],
    }
    masks = part_masks(network)
    masks |= {f"{k} {name}": chosen_mask(network, units=order[:k]) for name, order in orders.items() for k in SIZES}
    turned = []
    for own, _, patched in cases(choice, opened, testing):
        at_random = []
        for k in SIZES:
            others = [unit for unit in every if unit not in orders["by patching"][:k]]
            for _ in range(DRAWS):
                which = random.choice(len(others), k, replace=False)
                at_random.append(chosen_mask(network, units=[others[u] for u in which]))
        values = patched(np.stack([*masks.values(), *at_random]))
        turned.append((values > 0) != (own > 0))
    columns = np.array(turned).T
    by_chance = columns[len(masks) :].reshape(len(SIZES), -1)
    return {
        "pairs": len(turned),
        "left_out": sum(len(some.women) for some in testing) - len(turned),
        "strongest": [
            {"layer": unit[0], "unit": unit[1], "recovery": float(alone[every.index(unit)])}
            for unit in orders["by patching"][:5]
        ],
        "turned": {name: share(column) for name, column in zip(masks, columns, strict=False)}
        | {f"{k} at random": share(column) for k, column in zip(SIZES, by_chance, strict=True)},
        "intervals": {name: interval(column) for name, column in zip(masks, columns, strict=False)},
    }


Case = tuple[float, float, Callable[[NDArray[np.bool_]], Floats]]


def cases(choice: Choice, opened: Opened, found: list[Pairs]) -> Iterator[Case]:
    """Yield D of each pair's sentences, and what gives D of the first by masks of what it takes from the second."""
    for some in found:
        first, second = decisions(choice, opened, some.ours), decisions(choice, opened, some.theirs)
        place = (some.cue + some.ours.shape[1]) // 2
        for n in np.flatnonzero(((first > 0) == some.women) & ((second > 0) != some.women)):
            before, given = (
                state_after(choice.network, opened.tokenizer.start_id, ids[n, :place])
                for ids in (some.ours, some.theirs)
            )
            rest = some.ours[n, place:]

            def patched(masks: NDArray[np.bool_], a: State = before, b: State = given, rest: Ids = rest) -> Floats:
                return last(patched_values(choice, a, b, masks, rest))

            yield float(first[n]), float(second[n]), patched


def last(events: Any) -> Floats:
    """Return what a generator returns, its progress passed over."""
    while True:
        try:
            next(events)
        except StopIteration as ended:
            return np.asarray(ended.value)


def share(values: NDArray[np.bool_]) -> float:
    """Return how many of the values are True, as a share."""
    return round(float(np.mean(values)), 4)


def interval(values: NDArray[np.bool_]) -> list[float]:
    """Return Wilson's 95 % interval of the share, as if the sentences were independent."""
    return [round(float(end[0]), 4) for end in wilson(np.array([values.sum()]), np.array([values.size]))]


def say(what: str, value: object) -> None:
    """Print what is known so far."""
    print(f"{what}: {value}", file=sys.stderr, flush=True)


def draw_picture(
    out: Path, network: Model, opened: Opened, found: Pairs, ranked: list[dict[str, Any]], patched: dict[str, Any]
) -> None:
    """Draw the unit that tracing puts first along a sentence and its pair, and what turns the pronoun."""
    first = ranked[0]
    pair = np.stack([found.ours[0], found.theirs[0]])
    values = traced(network, opened, pair)[f"layer{first['layer']}/{first['signal']}"][..., first["unit"]]
    words = opened.tokenizer.decode(found.ours[0]).split()
    names = [opened.tokenizer.decode(ids[found.cue : found.cue + 1]) for ids in pair]
    words[found.cue] = " / ".join(names)
    turned = patched["turned"]
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(13, 5.2), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[2.2, 1])
        for name, row, colour, marker in zip(names, values.T, COLOURS, MARKERS, strict=False):
            left.plot(range(len(words)), row, color=colour, marker=marker, ms=5, lw=1.8, label=f"{name} …")
        left.axhline(0, color=GREY, lw=0.8)
        left.axvline(found.cue, color=GREY, lw=1.2, ls=":")
        left.set_xticks(range(len(words)), words, rotation=60, ha="right", rotation_mode="anchor", fontsize=9)
        left.set_ylabel(f"layer{first['layer']}/{first['signal']}, unit {first['unit']}")
        left.set_title("The unit that keeps the person, found by tracing", loc="left")
        left.legend(loc="best")
        places = np.arange(len(turned))[::-1]
        colours = [GREY if "random" in name else COLOURS[2] for name in turned]
        bars = right.barh(places, [100 * value for value in turned.values()], 0.7, color=colours)
        right.bar_label(bars, [f"{value:.0%}" for value in turned.values()], padding=3, fontsize=9)
        right.set_yticks(places, [label(name) for name in turned], fontsize=9)
        right.set_xlim(0, 112)
        right.set_xlabel(f"% of {patched['pairs']} sentences whose pronoun turns")
        right.set_title("Put in from the other sentence", loc="left")
        right.grid(visible=False, axis="y")
        figure.savefig(out, dpi=DPI, metadata=FORMATS[out.suffix.lower()])


def label(name: str) -> str:
    """Return what was patched as it is called in the picture."""
    count, _, how = name.partition(" ")
    if not how:
        return {"state": "the whole state"}.get(name, name)
    return f"{count} unit{'s' * (count != '1')}, {how}"


if __name__ == "__main__":
    main()
