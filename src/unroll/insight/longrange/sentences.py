"""The sentences of the long-range tasks: a cue, an exact number of words after it, and the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.random import Generator

Slot = tuple[str, ...]
"""The words from which one is drawn."""


@dataclass(frozen=True)
class Clause:
    """Words with one decision: those before the cue, the cue for each answer, those between, and those after."""

    before: Sequence[Slot]
    cues: Sequence[Slot]
    between: Sequence[Slot]
    after: Sequence[Slot]


def _slots(text: str, named: dict[str, str]) -> list[Slot]:
    """Return the slots of a pattern: a word in capitals stands for any of the words of that name."""
    return [tuple(named[word].split()) if word in named else (word,) for word in text.split()]


def phrases(random: Generator, kinds: Sequence[Sequence[Slot]], words: int) -> list[Slot]:
    """Return random phrases of exactly `words` words together: none, or at least as many as the shortest has.

    The lengths of the kinds must allow all totals from the shortest on.
    """
    slots: list[Slot] = []
    shortest = min(map(len, kinds))
    while left := words - len(slots):
        lengths = sorted({len(kind) for kind in kinds if left == len(kind) or left - len(kind) >= shortest})
        length = lengths[random.integers(len(lengths))]
        fitting = [kind for kind in kinds if len(kind) == length]
        slots += fitting[random.integers(len(fitting))]
    return slots


# ---- people and pronouns


ENGLISH = {
    "WOMAN": "Alice Anna Clara Diana Emma Julia Maria Sarah",
    "MAN": "Bob David Frank Henry John Peter Thomas William",
    "PERSON": "Alice Anna Clara Diana Emma Julia Maria Sarah Bob David Frank Henry John Peter Thomas William",
    "WALKS": "walks laughs sings listens waits works smiles sleeps",
    "READS": "reads opens likes finds paints brings sells wants",
    "OFTEN": "often never always sometimes",
    "THING": "book letter house river garden train song window table road tree boat",
    "OLD": "old small red quiet long cold new heavy",
    "FALLS": "falls shines moves stays changes turns breaks vanishes",
    "HIDES": "hides covers crosses touches follows meets carries holds",
    "AGAIN": "again today slowly suddenly",
}
ACTS = [
    _slots(text, ENGLISH)
    for text in (
        "WALKS .",
        "OFTEN WALKS .",
        "READS the THING .",
        "READS the OLD THING .",
        "READS a letter from PERSON .",
    )
]
"""What a person does, after the name."""
EVENTS = [
    _slots(text, ENGLISH)
    for text in (
        "the THING FALLS .",
        "the OLD THING FALLS .",
        "the THING FALLS AGAIN .",
        "the THING HIDES the THING .",
        "the THING is for PERSON .",
        "the OLD THING HIDES the THING .",
        "the OLD THING is for PERSON .",
    )
]
"""What happens meanwhile: it mentions persons but is not about them."""


def pronouns(random: Generator, distance: int) -> list[Clause]:
    """`Alice reads the book . the letter is for Bob . she laughs .`, half of the time after a story of someone else."""

    def story(distance: int) -> Clause:
        acts = [act for act in ACTS if distance - 1 == len(act) or distance - 1 - len(act) >= min(map(len, EVENTS))]
        act = acts[random.integers(len(acts))]
        cues = [tuple(ENGLISH[who].split()) for who in ("WOMAN", "MAN")]
        meanwhile = phrases(random, EVENTS, distance - 1 - len(act))
        return Clause([], cues, [*act, *meanwhile], _slots("WALKS .", ENGLISH))

    earlier = [story(int(random.integers(3, 13)))] if random.integers(2) else []
    return [*earlier, story(distance)]


# ---- German separable verbs


GERMAN = {
    "ANNA": "Anna Clara Eva Lena Jan Max Paul Tim",
    "HEUTE": "heute gern oft wieder lange dort bald nun",
    "AUF": "an auf aus vor zu mit bei neben",
    "HAUS": "Haus Fenster Tisch Garten Zug Fluss Baum Turm",
    "STRASSE": "Straße Stadt Brücke Schule Küche Kirche Mauer Tür",
    "ALTEN": "alten kleinen roten stillen neuen kalten",
    "KIND": "Kind Freund König Gast Fremder Bruder",
}
PARTICLES = {
    "an": "sieht hört schließt",
    "auf": "regt hält richtet",
    "aus": "ruht zieht kennt",
    "ein": "schreibt mischt bildet",
    "mit": "teilt bringt freut",
    "vor": "bereitet stellt nimmt",
    "zu": "deckt traut wendet",
}
"""Verbs by the particle that ends their sentence: sich ansehen, sich anhören, sich anschließen …"""
MIDDLE = [
    _slots(text, GERMAN)
    for text in (
        "HEUTE",
        "AUF dem HAUS",
        "AUF der STRASSE",
        "wie ein KIND",
        "AUF dem ALTEN HAUS",
        "AUF der ALTEN STRASSE",
    )
]
"""What stands between verb and particle, including prepositions that look like particles."""


def separable_verbs(random: Generator, distance: int) -> list[Clause]:
    """`Anna sieht sich heute auf der Brücke wie ein Kind an .`, half of the time after another such sentence."""

    def sentence(distance: int) -> Clause:
        verbs = [tuple(words.split()) for words in PARTICLES.values()]
        middle = phrases(random, MIDDLE, distance - 2)
        return Clause(_slots("ANNA", GERMAN), verbs, [("sich",), *middle], [(".",)])

    earlier = [sentence(int(random.integers(2, 13)))] if random.integers(2) else []
    return [*earlier, sentence(distance)]


# ---- agreement across attractors


NOUNS = "key cabinet door picture letter window table garden house boat teacher doctor"
AGREEING = {
    "KEY": NOUNS,
    "KEYS": " ".join(f"{noun}s" for noun in NOUNS.split()),
    "NOUN": " ".join(f"{noun} {noun}s" for noun in NOUNS.split()),
    "NEAR": "near behind under beside with of above without",
    "OLD": "old small red new heavy quiet",
}
ATTRACTORS = [_slots(text, AGREEING) for text in ("NEAR the NOUN", "NEAR the OLD NOUN", "NEAR the OLD OLD NOUN")]


def agreement(random: Generator, distance: int) -> list[Clause]:
    """`the key near the old cabinets of the doors is new .`: the verb agrees with the first noun alone."""
    cues = [tuple(AGREEING[number].split()) for number in ("KEY", "KEYS")]
    between = phrases(random, ATTRACTORS, distance - 1)
    return [Clause([("the",)], cues, between, _slots("OLD .", AGREEING))]


def words_of(*named: dict[str, str]) -> tuple[str, ...]:
    """Return all words of vocabularies, some of them twice."""
    return tuple(word for words in named for text in words.values() for word in text.split())
