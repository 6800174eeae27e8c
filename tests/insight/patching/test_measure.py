"""Patching: the whole state is the other text, nothing is nothing, a row is what is patched by itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from insight.patching.planted import CARRIER, WORDS, asked, opened, planted
from tiny import (
    ARCHS,
    TOKENIZER,
    model_config,
    random_ids,
    random_model,
)
from unroll.errors import UserError
from unroll.insight.attribution.scores import Floats, Ids
from unroll.insight.patching import measure as module
from unroll.insight.patching.alignment import same_end
from unroll.insight.patching.measure import (
    Choice,
    Masks,
    by_position,
    chosen_mask,
    masks_of_units,
    nothing,
    own_value,
    part_masks,
    patch,
    patched_values,
    replaced,
    state_after,
)
from unroll.progress import result
from unroll.state import State

T = TypeVar("T")
START = TOKENIZER.start_id
AT, LENGTH = 18, 26
SHAPES: dict[str, dict[str, Any]] = {
    **{arch: {} for arch in ARCHS},
    "lstm-sum": {"skip": "sum", "num_layers": 3},
    "gru-residual": {"skip": "residual", "layers_before": 1, "layers_after": 1},
}
RECURRENT = [name for name in SHAPES if name != "window"]


def choice(name: str) -> Choice:
    extra = {"window": LENGTH} if name == "window" else {}
    model = random_model(model_config(name.split("-")[0], **(SHAPES[name] | extra)), scale=0.4)
    return Choice(model.requires_grad_(False), 3, 5)


def texts() -> tuple[Ids, Ids]:
    """Return two texts that differ in all of the first symbols up to the point and in none after it."""
    ours = random_ids(LENGTH).astype(np.int64)
    theirs = ours.copy()
    theirs[:AT] = 1 + ours[:AT] % (TOKENIZER.vocab_size - 1)
    return ours, theirs


def values(subject: Choice, masks: Masks, at: int = AT, ids: tuple[Ids, Ids] | None = None) -> Floats:
    ours, theirs = ids or texts()
    a, b = state_after(subject.network, START, ours[:at]), state_after(subject.network, START, theirs[:at])
    return result(patched_values(subject, a, b, masks, ours[at:]))


def by_itself(subject: Choice, change: Callable[[State, State], None], at: int = AT) -> float:
    """Return D when `change` has put something of the second text's state into the first's, in place, read alone."""
    ours, theirs = texts()
    model = subject.network

    def after(ids: Ids) -> State:
        _, state = model(torch.tensor([[START, *ids[:at].tolist()]]), engine="stepwise")
        return tuple(tuple(part.clone() for part in layer) for layer in state)

    state = after(ours)
    change(state, after(theirs))
    logits, _ = model(torch.from_numpy(ours[None, at:]), state, engine="stepwise")
    return float(logits[0, -1, subject.target] - logits[0, -1, subject.against])


def law_whole(subject: Choice) -> None:
    """With the whole state of the second text, the first goes on as the second does."""
    (value,) = values(subject, ~nothing(subject.network)[None])
    ours, theirs = (own_value(subject, START, ids) for ids in texts())
    assert abs(ours - theirs) > 1e-3
    assert value == pytest.approx(theirs, abs=1e-9)


def law_nothing(subject: Choice) -> None:
    """Patched with nothing, the first text is what it was."""
    (value,) = values(subject, nothing(subject.network)[None])
    assert value == pytest.approx(own_value(subject, START, texts()[0]), abs=1e-9)


def law_units(subject: Choice) -> None:
    """Each unit's row is what patching it by itself gives, h and c together or one of them."""
    model = subject.network
    signals = module.state_signals(model)
    for selected in ((), *((name,) for name in signals)):
        parts = [signals.index(name) for name in selected or signals]
        units, masks = masks_of_units(model, (), selected)
        effects = values(subject, masks)
        assert len(effects) == model.config.num_layers * model.config.hidden_size
        for (k, u), value in list(zip(units.tolist(), effects.tolist(), strict=True))[:: 1 if selected == () else 3]:

            def change(state: State, donor: State, k: int = k, u: int = u, parts: list[int] = parts) -> None:
                for s in parts:
                    state[k][s][0, u] = donor[k][s][0, u]

            assert value == pytest.approx(by_itself(subject, change), abs=1e-9), (k, u)


@pytest.mark.parametrize("name", SHAPES)
def test_the_whole_state_is_the_other_text(name: str) -> None:
    law_whole(choice(name))


@pytest.mark.parametrize("name", SHAPES)
def test_patching_nothing_changes_nothing(name: str) -> None:
    law_nothing(choice(name))


@pytest.mark.parametrize("name", RECURRENT)
def test_units_side_by_side_are_units_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD", 1500)  # a few rows at a time
    law_units(choice(name))


@pytest.mark.parametrize("name", RECURRENT)
def test_parts_are_what_their_names_say(name: str) -> None:
    subject = choice(name)
    signals = module.state_signals(subject.network)
    masks = part_masks(subject.network)
    effects = dict(zip(masks, values(subject, np.stack(list(masks.values()))), strict=True))
    layers = subject.network.config.num_layers
    assert len(effects) == (1 + layers) * (1 + len(signals)) if len(signals) > 1 else 1 + layers
    for part, value in effects.items():
        layer, _, signal = part.partition("/")

        def change(state: State, donor: State, layer: str = layer, signal: str = signal) -> None:
            for k in range(layers):
                for s, symbol in enumerate(signals):
                    if layer in ("state", f"layer{k}", symbol) and signal in ("", symbol):
                        state[k][s].copy_(donor[k][s])

        assert value == pytest.approx(by_itself(subject, change), abs=1e-9), part


@pytest.mark.parametrize("name", SHAPES)
def test_by_position_is_patching_at_each(name: str) -> None:
    subject = choice(name)
    masks = np.stack(list(part_masks(subject.network).values()))
    positions, effects = result(by_position(subject, START, *texts(), 2, masks))
    assert positions.tolist() == list(range(2, LENGTH)) and effects.shape == (LENGTH - 2, len(masks))
    for position, row in zip(positions.tolist(), effects, strict=True):
        np.testing.assert_allclose(row, values(subject, masks, position), rtol=0, atol=1e-9)


def test_texts_of_unlike_length_are_aligned_at_their_ends() -> None:
    subject = choice("lstm")
    ours, theirs = texts()
    longer = np.concatenate([theirs[:AT], theirs[:AT], ours[AT:]])
    assert (
        same_end(ours, longer) == LENGTH - AT
        and same_end(ours, ours) == LENGTH
        and same_end(ours, ours[3:]) == LENGTH - 3
    )
    _, effects = result(by_position(subject, START, ours, longer, AT, ~nothing(subject.network)[None]))
    np.testing.assert_allclose(effects, own_value(subject, START, longer), rtol=0, atol=1e-9)


# ---- planted faults


def stale(ours: State, theirs: State, masks: Masks) -> State:
    return replaced(ours, ours, masks)


def layers_swapped(ours: State, theirs: State, masks: Masks) -> State:
    return replaced(ours, theirs, masks[:, ::-1].copy())


def signals_swapped(ours: State, theirs: State, masks: Masks) -> State:
    return replaced(ours, tuple(layer[::-1] for layer in theirs), masks)


def ahead(ours: State, theirs: State, masks: Masks) -> State:
    return replaced(theirs, theirs, masks)


@pytest.mark.parametrize(
    ("law", "fault"),
    [
        (law_whole, stale),
        (law_whole, signals_swapped),
        (law_nothing, ahead),
        (law_units, stale),
        (law_units, layers_swapped),
        (law_units, signals_swapped),
    ],
)
def test_faults_are_caught(
    law: Callable[[Choice], None], fault: Callable[..., State], monkeypatch: pytest.MonkeyPatch
) -> None:
    law(choice("lstm"))
    monkeypatch.setattr(module, "replaced", fault)
    with pytest.raises(AssertionError):
        law(choice("lstm"))


def test_a_planted_carrier_is_found_and_turns_the_pronoun_alone() -> None:
    patched = asked(opened(planted(), WORDS), "Alice reads and reads and reads", "Bob reads and reads and reads")
    two = 2 * np.tanh(1)
    assert patched.first == pytest.approx(two, abs=1e-9) and patched.second == pytest.approx(-two, abs=1e-9)
    assert patched.at == (1, 1) and not patched.notes
    strongest, *weaker = patched.ranked()
    assert strongest.name == f"0:{CARRIER}" and strongest.flips and strongest.recovery == pytest.approx(1)
    assert max(abs(unit.effect) for unit in weaker) < 1e-9
    assert patched.smallest == 1
    assert patched.parts["layer0/c"] == pytest.approx(-two) and patched.parts["layer0/h"] == pytest.approx(two)
    assert patched.positions.tolist() == [1, 2, 3, 4, 5] and patched.symbols[:2] == ("Alice", "reads")
    np.testing.assert_allclose(patched.curves["layer0/c"], -two, atol=1e-9)
    figures = json.loads(json.dumps(patched.figures(2), allow_nan=False))
    assert figures["smallest_set"]["units"] == [f"0:{CARRIER}"] and figures["smallest_set"]["flips"]
    assert [unit["name"] for unit in figures["units"]] == [f"0:{CARRIER}", weaker[0].name]
    assert {part["name"]: part["flips"] for part in figures["parts"]} == {
        "state": True, "layer0/h": False, "layer0/c": True,
    }  # fmt: skip


def test_what_is_chosen_is_patched_and_ranked() -> None:
    model, sentences = opened(planted(), WORDS), ("Alice reads and reads", "Bob reads and reads")
    restricted = asked(model, *sentences, signals=["h"])
    assert restricted.parts["chosen"] == restricted.parts["layer0/h"] and restricted.smallest is None
    assert not any(unit.flips for unit in restricted.ranked())
    assert asked(model, *sentences, units=[(0, CARRIER), (0, 1)]).parts["chosen"] < 0
    assert asked(model, *sentences, units=[(0, 1)], signals=["c"]).parts["chosen"] > 0
    assert "chosen" in asked(model, *sentences, layers=[0]).curves and "chosen" not in asked(model, *sentences).curves


def test_what_makes_no_decision_is_said() -> None:
    patched = asked(opened(planted(), WORDS), "Alice reads and", "Alice and and")
    assert patched.smallest is None and any("prefer the same" in note for note in patched.notes)
    assert "'Eve'" in asked(opened(planted(), WORDS), "Alice reads", "Eve reads").notes[0]


def test_sets_end_with_the_whole_state() -> None:
    model = random_model(model_config("lstm"), scale=0.4)
    patched = asked(opened(model), "abcde" * 4, "bbcde" * 1 + "abcde" * 3, target="a", against="b")
    assert (
        patched.set_values[-1]
        == pytest.approx(patched.second, abs=1e-9)
        == pytest.approx(patched.parts["state"], abs=1e-9)
    )
    assert patched.set_values[0] == patched.unit_values[0]
    shift = (patched.unit_values - patched.first) * np.sign(patched.second - patched.first)
    assert (np.diff(shift) <= 0).all() and len(shift) == 20
    three = chosen_mask(model.double(), units=[(int(k), int(u)) for k, u in patched.units[:3]])
    ours, theirs = TOKENIZER.encode("abcde" * 4), TOKENIZER.encode("bbcde" + "abcde" * 3)
    subject = Choice(model.requires_grad_(False), int(TOKENIZER.encode("a")[0]), int(TOKENIZER.encode("b")[0]))
    assert patched.set_values[2] == pytest.approx(values(subject, three[None], 1, (ours, theirs))[0], abs=1e-9)


def test_a_window_is_patched_as_a_whole() -> None:
    model = random_model(model_config("window"), scale=0.4)
    near = asked(opened(model), "aab", "bab", target="a", against="b")
    assert set(near.parts) == {"state"} == set(near.curves) and not len(near.units) and near.smallest is None
    assert near.parts["state"] == pytest.approx(near.second) and near.first != near.second
    far = asked(opened(model), "aabcd", "babcd", target="a", against="b")
    assert far.first == far.second and far.effect("", far.second).recovery is None, "beyond its four symbols"
    assert json.dumps(far.figures(), allow_nan=False)


def test_a_models_directory(folder: Path) -> None:
    patched = patch(folder / "lstm", "the cat was", "the car was", target=" ", against="e", after="the")
    assert patched.at == (3, 3) and patched.positions.tolist() == [3, 4, 5, 6, 7, 8, 9, 10]
    assert patched.symbols[6] == "t" and set(patched.parts) > {"state", "h", "c", "layer1", "layer0/c"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"target": "she"}, "'she' (target) is not a symbol"),
        ({"against": "%"}, "'%' (against) is not a symbol"),
        ({"against": "a"}, "against itself"),
        ({"second": "the cat"}, "both texts are the same"),
        ({"second": "the car"}, "nothing is read after the point"),
        ({"second": "a cat", "at": 2}, "do not align: 5 and 3 symbols"),
        ({"at": 7}, "a point after 7 symbols of texts of 7 and 7"),
        ({"at": 0}, "a point after 0 symbols"),
        ({"at": 1, "after": "the"}, "both a number of symbols and a word"),
        ({"after": "he"}, "'he' occurs 0 times in the first text"),
        ({"first": "cat cat", "after": "cat"}, "occurs 2 times in the first text"),
        ({"after": "the"}, "occurs 0 times in the second text"),
        ({"units": [(0, 10)]}, "no unit 0:10"),
        ({"units": [(2, 0)]}, "no unit 2:0"),
        ({"units": [(0, 1)], "layers": [0]}, "both layers and units"),
        ({"layers": [2]}, "no layer 2"),
        ({"signals": ["f"]}, "has no f"),
        ({"model": "window", "units": [(0, 0)]}, "window is its last 3 inputs"),
        ({"model": "window", "signals": ["h"]}, "window is its last 3 inputs"),
        ({"model": "ngram"}, "n-gram"),
    ],
)
def test_what_cannot_be_patched_is_refused(asked: dict[str, Any], message: str, folder: Path) -> None:
    options = {"model": "lstm", "first": "the cat", "second": "she cat", "target": "a", "against": "e"} | asked
    with pytest.raises(UserError) as refusal:
        patch(folder / options.pop("model"), options.pop("first"), options.pop("second"), **options)
    assert message in refusal.value.what and refusal.value.fix and refusal.value.allowed


def test_an_rnn_has_no_cell_to_patch() -> None:
    model = random_model(model_config("rnn"))
    with pytest.raises(UserError, match="only these have c: LSTM"):
        asked(opened(model), "abc", "bbc", target="a", against="b", signals=["c"])
