"""Directories that are replaced while they are read: what is served, copied or looked into is always one model, whole.

The two models are of one shape and differ in weights and vocabulary, so that a mixture could be opened.
"""

import asyncio
import errno
import os
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import unroll.artifact.open as opening
import unroll.serve.models as models_module
from serve.live import latest, make_model, run_apart
from unroll.artifact import snapshot
from unroll.artifact.open import Opened, open_model
from unroll.artifact.snapshot import FILES, Changed, pinned, stamp_of, unchanged
from unroll.data.tokenizer import CharTokenizer
from unroll.errors import MachineError, UserError
from unroll.serve.errors import ApiError, of_user_error
from unroll.serve.models import Models
from unroll.serve.served import Served
from unroll.serve.studio import trainings as trainings_module
from unroll.serve.studio.trainings import Trainings

IDS = np.array([[1, 2, 3, 4, 5, 6]])
TOKENIZERS = {"lower": CharTokenizer.learn("abcdefgh\n"), "upper": CharTokenizer.learn("ABCDEFGH\n")}
TIME = (1_700_000_000_000_000_000, 1_700_000_000_000_000_000)
"""Of all their files, as an archive or a copy with times gives them."""


@dataclass
class Pair:
    """Two models outside, and a name that leads to one or the other."""

    folder: Path
    known: dict[tuple[str, bytes], str]
    """By vocabulary and logits."""

    @property
    def live(self) -> Path:
        return self.folder / "live"

    def source(self, name: str) -> Path:
        return self.folder / name

    def name_of(self, opened: Opened) -> str:
        """Return which of the two a model is; "a mixture" where it is neither."""
        logits, _ = opened.predictor.logits(IDS)
        parts = opened.tokenizer.digest, np.asarray(logits, np.float32).tobytes()
        digest = opened.description["tokenizer_digest"]
        return self.known.get(parts, "a mixture") if digest == opened.tokenizer.digest else "a mixture"

    def name_of_folder(self, folder: Path) -> str:
        """Return of which of the two a copy is, to the byte."""
        for name in TOKENIZERS:
            if all((folder / file).read_bytes() == (self.source(name) / file).read_bytes() for file in KEPT):
                return name
        return "a mixture"


KEPT = (*FILES, "recipe.toml")


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    names = {}
    for seed, (name, tokenizer) in enumerate(TOKENIZERS.items()):
        folder = make_model(tmp_path / name, tokenizer, seed=seed)
        (folder / "recipe.toml").write_text(f'name = "{name}"\n')
        for file in KEPT:
            os.utime(folder / file, ns=TIME)
        opened = open_model(folder)
        names[opened.tokenizer.digest, np.asarray(opened.predictor.logits(IDS)[0], np.float32).tobytes()] = name
    assert len(names) == 2
    lower, upper = (tmp_path / name for name in TOKENIZERS)
    for file in KEPT:
        assert (lower / file).stat().st_size == (upper / file).stat().st_size, "else size alone would tell"
    return Pair(tmp_path, names)


# ---- Ways of replacing a model


@contextmanager
def by_renaming(pair: Pair) -> Iterator[Callable[[], None]]:
    """Directories: the one that is live goes aside, the other takes its place."""
    shutil.copytree(pair.source("lower"), pair.live)
    shutil.copytree(pair.source("upper"), pair.folder / "aside")

    def swap() -> None:
        pair.live.rename(pair.folder / "between")
        (pair.folder / "aside").rename(pair.live)
        (pair.folder / "between").rename(pair.folder / "aside")

    yield swap


@contextmanager
def by_a_link(pair: Pair) -> Iterator[Callable[[], None]]:
    """A link that leads to one or the other, replaced in one step."""
    pair.live.symlink_to(pair.source("lower"))
    turn = [0]

    def swap() -> None:
        turn[0] = 1 - turn[0]
        link = pair.folder / "link"
        link.symlink_to(pair.source(("lower", "upper")[turn[0]]))
        link.replace(pair.live)

    yield swap


@contextmanager
def by_a_parent(pair: Pair) -> Iterator[Callable[[], None]]:
    """The folder above is renamed, so that nothing of the model itself changes."""
    for place, name in (("runs", "lower"), ("others", "upper")):
        (pair.folder / place).mkdir()
        shutil.copytree(pair.source(name), pair.folder / place / "live")
    pair.live.symlink_to(pair.folder / "runs" / "live")

    def swap() -> None:
        (pair.folder / "runs").rename(pair.folder / "between")
        (pair.folder / "others").rename(pair.folder / "runs")
        (pair.folder / "between").rename(pair.folder / "others")

    yield swap


@contextmanager
def by_files(pair: Pair) -> Iterator[Callable[[], None]]:
    """All files of a directory, moved away and back: with their inodes, their sizes and their times."""
    shutil.copytree(pair.source("lower"), pair.live)
    shutil.copytree(pair.source("upper"), pair.folder / "aside")

    def swap() -> None:
        for file in KEPT:
            (pair.live / file).rename(pair.folder / file)
            (pair.folder / "aside" / file).rename(pair.live / file)
            (pair.folder / file).rename(pair.folder / "aside" / file)

    yield swap


@contextmanager
def in_place(pair: Pair) -> Iterator[Callable[[], None]]:
    """All files written over, and given the time that they had."""
    shutil.copytree(pair.source("lower"), pair.live)
    turn = [0]

    def swap() -> None:
        turn[0] = 1 - turn[0]
        for file in KEPT:
            shutil.copyfile(pair.source(("lower", "upper")[turn[0]]) / file, pair.live / file)
            os.utime(pair.live / file, ns=TIME)

    yield swap


WAYS = {way.__name__: way for way in (by_renaming, by_a_link, by_a_parent, by_files, in_place)}
POINTS = ("read_description", "read_tokenizer", "read_weights_info", "load_network")
"""What opening a model calls, one after another."""


class Schedule:
    """Replaces a model at chosen moments of its opening, once each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, swap: Callable[[], None], at: tuple[int, ...]) -> None:
        self.left = list(at)
        self.calls = 0
        for name in POINTS:
            real = getattr(opening, name)

            def first(*arguments: Any, _real: Any = real, **options: Any) -> Any:
                while self.left and self.left[0] == self.calls:
                    self.left.pop(0)
                    swap()
                self.calls += 1
                return _real(*arguments, **options)

            monkeypatch.setattr(opening, name, first)


MOMENTS = [at for count in (1, 2) for at in combinations(range(len(POINTS)), count)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", MOMENTS, ids=str)
def test_wherever_a_model_is_replaced_one_of_the_two_is_opened(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, way: str, at: tuple[int, ...]
) -> None:
    with WAYS[way](pair) as swap:
        schedule = Schedule(monkeypatch, swap, at)
        models = Models([pair.live])
        (name,) = models.names()
        served = latest(models, name)
        assert not schedule.left
        assert pair.name_of(served.opened) in TOKENIZERS
        assert served.opened.path == pair.live

        async def now() -> Served:
            return await models.current(name)

        assert pair.name_of(run_apart(now()).opened) == ("lower" if len(at) == 2 else "upper")


def test_without_the_rules_there_are_mixtures(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault as it was, planted: paths by name, and stamps of inode, size and time of writing only."""

    @contextmanager
    def by_name(path: Path) -> Iterator[Path]:
        yield path

    def of_old(path: Path, files: tuple[str, ...] = FILES, **settled: bool) -> Any:
        stamp = stamp_of(path, files)
        return None if stamp is None else tuple((*rest, 0) for *rest, _ in stamp)

    for module in (models_module, opening):
        monkeypatch.setattr(module, "pinned", by_name)
    monkeypatch.setattr(models_module, "stamp_of", of_old)
    monkeypatch.setattr(snapshot, "stamp_of", of_old)
    mixtures = Counter[str]()
    for way, make in WAYS.items():
        for at in MOMENTS:
            with make(pair) as swap, monkeypatch.context() as patch:
                Schedule(patch, swap, at)
                with suppress(UserError):  # a vocabulary that is not the description's is noticed even so
                    models = Models([pair.live])
                    mixtures[way] += pair.name_of(latest(models, models.names()[0]).opened) == "a mixture"
            for path in pair.folder.iterdir():
                if path.name not in TOKENIZERS:
                    path.unlink() if path.is_symlink() else shutil.rmtree(path)
    assert all(mixtures[way] for way in WAYS), mixtures


def test_hundreds_of_replacements_beside_it_never_mix_two_models(pair: Pair) -> None:
    """At random moments, by ways that replace a whole model at a time; several ask at once, and some look inside."""
    draw = random.Random(0)
    with by_renaming(pair) as rename:
        link = pair.folder / "linked"
        link.symlink_to(pair.live)
        names = Counter[str]()
        refusals = Counter[str]()
        models = Models([pair.live])
        linked = models.add(pair.source("lower"), "linked")
        models._entries[linked].path = link
        finish = threading.Event()
        swaps = [0]

        def replace() -> None:
            while swaps[0] < 400:
                kind = draw.randrange(4)
                if kind == 0:
                    replacement = pair.folder / "new"
                    replacement.symlink_to(pair.source(draw.choice(list(TOKENIZERS))))
                    replacement.replace(link)
                elif kind == 1:  # moved away for a moment
                    pair.live.rename(pair.folder / "gone")
                    time.sleep(draw.random() * 0.004)
                    (pair.folder / "gone").rename(pair.live)
                else:
                    rename()
                swaps[0] += 1
                time.sleep(draw.random() * 0.006)
            finish.set()

        def look(opened: Opened) -> str:
            """Read the files one by one, as the screens do, at some leisure."""
            name = pair.name_of(open_model(opened.path))
            time.sleep(draw.random() * 0.003)
            assert (opened.path / "recipe.toml").read_text() == f'name = "{name}"\n'
            return name

        async def ask(name: str, *, inside: bool) -> None:
            while not finish.is_set():
                try:
                    if inside:
                        served, found = await models.read(name, look)
                        assert found == pair.name_of(served.opened)
                    else:
                        served = await models.current(name)
                    names[pair.name_of(served.opened)] += 1
                except ApiError as error:
                    assert error.code in ("model_gone", "model_unavailable"), error.message
                    refusals[error.code] += 1
                await asyncio.sleep(0)

        async def all_of_them() -> None:
            await asyncio.gather(*(ask(name, inside=inside) for name in ("live", linked) for inside in (False, True)))

        thread = threading.Thread(target=replace)
        thread.start()
        run_apart(all_of_them())
        thread.join()
        assert swaps[0] == 400
        assert names["a mixture"] == 0 and min(names["lower"], names["upper"]) > 10, (names, refusals)
        assert names.total() > 5 * refusals.total(), (names, refusals)


def test_a_directory_that_never_rests_is_refused(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    with by_files(pair) as swap:
        real = vars(opening)["read_tokenizer"]

        def always(*arguments: Any) -> Any:
            swap()
            return real(*arguments)

        monkeypatch.setattr(opening, "read_tokenizer", always)
        with pytest.raises(UserError, match="change while they are read"):
            Models([pair.live])


def test_errors_name_the_directory_that_was_named(pair: Pair) -> None:
    with by_renaming(pair):
        (pair.live / "weights.safetensors").write_bytes(b"nothing")
        with pytest.raises(UserError) as error:
            Models([pair.live])
        assert str(pair.live / "weights.safetensors") in str(error.value) and "/proc/" not in str(error.value)
    with pytest.raises(UserError, match="no model directory"):
        Models([pair.folder / "nothing"])


def test_a_changed_vocabulary_is_another_version(pair: Pair) -> None:
    """Two models of the same weights are two all the same: what one writes is not taken for the other's."""
    folder = shutil.copytree(pair.source("lower"), pair.folder / "same")
    before = latest(Models([folder]), "same")
    for file in ("model.json", "tokenizer.json"):
        shutil.copyfile(pair.source("upper") / file, folder / file)
    after = latest(Models([folder]), "same")
    assert after.version != before.version and after.fingerprint != before.fingerprint


def test_a_fresh_change_is_waited_for(tmp_path: Path) -> None:
    """Two changes within one tick of the file system's clock have one time: the second would not be seen."""
    for name in FILES:
        (tmp_path / name).write_text("one")
    start = time.monotonic()
    stamp = stamp_of(tmp_path, settled=True)
    assert stamp is not None and time.monotonic() - start >= snapshot.TICK_SECONDS
    (tmp_path / "model.json").write_text("two")
    os.utime(tmp_path / "model.json", ns=(stamp[0][3], stamp[0][3]))
    assert stamp_of(tmp_path) != stamp
    with pytest.raises(Changed):
        unchanged(tmp_path, stamp, lambda: None)
    (tmp_path / "model.json").unlink()
    assert stamp_of(tmp_path) is None


def test_what_fails_in_a_change_is_a_change(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_text("one")
    stamp = stamp_of(tmp_path, settled=True)

    def fail() -> None:
        raise KeyError("half of another model")

    with pytest.raises(KeyError):
        unchanged(tmp_path, stamp, fail)

    def replaced() -> None:
        (tmp_path / FILES[1]).write_text("another")
        fail()

    with pytest.raises(Changed):
        unchanged(tmp_path, stamp, replaced)


def test_a_pinned_directory_is_the_same_wherever_its_name_leads(pair: Pair) -> None:
    with by_renaming(pair) as swap, pinned(pair.live) as directory:
        swap()
        assert pair.name_of(open_model(directory)) == "lower" and pair.name_of(open_model(pair.live)) == "upper"
        shutil.rmtree(pair.folder / "aside")
        assert stamp_of(directory) is None


def test_what_looks_inside_has_the_weights_that_are_served(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The screens read the network once more, with torch: kept under the version that it is of, and no other."""
    from unroll.serve.inside import store

    real = store.in_torch
    inside_of = {name: real(open_model(pair.source(name))).predictor.logits(IDS)[0] for name in TOKENIZERS}
    with by_renaming(pair) as swap, ThreadPoolExecutor(1) as worker:
        models = Models([pair.live])
        inside = store.Store(SimpleNamespace(models=models, worker=worker))  # type: ignore[arg-type]
        swaps = [swap, swap, swap]

        def replaced(opened: Opened) -> Opened:
            if swaps:
                swaps.pop()()
            return real(opened)

        monkeypatch.setattr(store, "in_torch", replaced)
        for _ in range(4):
            served = run_apart(inside.model("live"))
            name = next(name for name in TOKENIZERS if served.tokenizer.digest == TOKENIZERS[name].digest)
            np.testing.assert_allclose(served.predictor.logits(IDS)[0], inside_of[name], rtol=1e-5)
            assert served.opened.path == pair.live and served.opened.tokenizer.digest == TOKENIZERS[name].digest
        for version, opened in inside.opened.items():
            name = next(name for name in TOKENIZERS if opened.tokenizer.digest == TOKENIZERS[name].digest)
            assert version == Models([pair.source(name)]).latest(name).version


# ---- Copies that the studio puts aside


@pytest.fixture
def trainings(pair: Pair) -> Trainings:
    (pair.folder / "scratch").mkdir()
    return Trainings(pair.folder, pair.folder / "scratch")


def test_a_copy_is_of_one_model_wherever_it_is_replaced(
    pair: Pair, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for way in (by_renaming, by_files, in_place):
        for at in range(4):
            with way(pair) as swap:
                calls, real = [0], shutil.copyfile

                def copy(*arguments: Any, at: int = at, swap: Any = swap, calls: Any = calls, real: Any = real) -> Any:
                    calls[0] += 1
                    if calls[0] - 1 in (at, at + 2):
                        with monkeypatch.context() as patch:
                            patch.setattr(shutil, "copyfile", real)
                            swap()
                    return real(*arguments)

                with monkeypatch.context() as patch:
                    patch.setattr(trainings_module.shutil, "copyfile", copy)  # type: ignore[attr-defined]
                    copy_name = trainings.keep("live")
                assert pair.name_of_folder(pair.folder / copy_name) in TOKENIZERS, (way, at)
                assert pair.name_of(open_model(pair.folder / copy_name)) in TOKENIZERS
            for path in pair.folder.iterdir():
                assert not path.name.endswith(".partial")
                if path.name not in (*TOKENIZERS, "scratch"):
                    shutil.rmtree(path)


def test_copies_beside_many_replacements_are_whole(pair: Pair, trainings: Trainings) -> None:
    draw = random.Random(1)
    with by_renaming(pair) as swap:
        finish, swaps = threading.Event(), [0]

        def replace() -> None:
            while not finish.is_set():
                swap()
                swaps[0] += 1
                time.sleep(draw.random() * 0.01)

        thread = threading.Thread(target=replace)
        thread.start()
        names, deadline = Counter[str](), time.monotonic() + 60
        try:
            while (names.total() < 60 or swaps[0] < 200) and time.monotonic() < deadline:
                try:
                    copied_folder = pair.folder / trainings.keep("live")
                except UserError:  # between two names there was none
                    continue
                names[pair.name_of_folder(copied_folder)] += 1
                shutil.rmtree(copied_folder)
        finally:
            finish.set()
            thread.join()
    assert names["a mixture"] == 0 and names.total() >= 60 and swaps[0] >= 200, names


def test_a_copy_is_on_the_disk_before_it_has_its_name(
    pair: Pair, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real_flush, real_rename = snapshot.flush, Path.rename

    def flush(path: Path) -> None:
        events.append(path.name)
        real_flush(path)

    def rename(self: Path, target: Path) -> Path:
        events.append("renamed")
        return real_rename(self, target)

    monkeypatch.setattr(trainings_module, "flush", flush)
    monkeypatch.setattr(Path, "rename", rename)
    copy = trainings.keep("lower")
    k = events.index("renamed")
    assert {*KEPT} < {*events[:k]} and events[k - 1].endswith(".partial") and events[k + 1 :] == [pair.folder.name]
    assert copy == "lower-0" and trainings.keep("lower") == "lower-0-2"


def test_a_full_disk_leaves_nothing_behind_and_is_said_to_be_full(
    pair: Pair, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(trainings_module.shutil, "copyfile", full)  # type: ignore[attr-defined]
    with pytest.raises(MachineError, match="lower-0") as error:
        trainings.keep("lower")
    assert of_user_error(error.value).status == 503
    assert not list(pair.folder.glob(".*")) and not list(pair.folder.glob("lower-*"))


def test_what_is_no_model_yet_is_not_put_aside(pair: Pair, trainings: Trainings) -> None:
    (pair.source("lower") / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"no model in .*lower yet: it has no weights\.safetensors"):
        trainings.keep("lower")
    shutil.copyfile(pair.source("upper") / "tokenizer.json", pair.source("lower") / "tokenizer.json")
    (pair.source("lower") / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match=r"lower/tokenizer\.json is not the tokenizer"):
        trainings.keep("lower")
    assert not list(pair.folder.glob(".*"))


def test_a_model_that_vanishes_while_models_are_listed_hides_no_other(
    pair: Pair, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set(trainings.names())
    assert len(names) >= 2
    real = Path.stat
    calls: dict[str, int] = {}

    def stat(path: Path, **options: bool) -> os.stat_result:
        calls[path.parent.name] = calls.get(path.parent.name, 0) + 1
        if path.parent.name == vanishing and calls[vanishing] > 1:  # after it was seen as a file
            raise FileNotFoundError(path)
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    for vanishing in names:
        calls.clear()
        assert set(trainings.names()) == names - {vanishing}
