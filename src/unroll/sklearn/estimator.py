"""What the estimators share: a training in a folder that vanishes, whose files are kept, pickled and saved."""

from collections.abc import Callable, Generator
from importlib import import_module
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from unroll.artifact.directory import WEIGHTS, check_free, locked, partial_of, publish
from unroll.artifact.events import METRICS
from unroll.artifact.vocabularies import CHARACTERS
from unroll.errors import UserError, install
from unroll.files import StrPath, explained, real_folder

try:
    from sklearn.base import BaseEstimator
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    message = f"unroll.sklearn needs scikit-learn 1.6 or later ({error}); {install('sklearn')}"
    raise ImportError(message) from None

FILES = ("model.json", WEIGHTS, "tokenizer.json", CHARACTERS, "recipe.toml", METRICS)
"""What a fitted estimator keeps of the directory of its model: all but what resuming needs."""


class InputError(UserError, ValueError):
    """An input that is refused, as scikit-learn raises it: a ValueError."""


class NetworkEstimator(BaseEstimator):  # type: ignore[misc]
    """A model that is trained in a directory, of which the estimator keeps the bytes of the files."""

    steps: int | None
    random_state: Any
    device: str
    _files: dict[str, bytes]

    def _open(self, folder: Path) -> Any:
        """Return the model in a directory, opened."""
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn should know: that only steps fix what is learnt."""
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.steps is None
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: all but the opened model."""
        return {name: value for name, value in super().__getstate__().items() if name != "_opened"}

    def save(self, folder: StrPath) -> None:
        """Write the directory of the model, as its command does. Raises UserError where it exists."""
        check_is_fitted(self)
        out = real_folder(Path(folder))
        check_free(out, (), force=False)
        partial = partial_of(out)
        with explained(out):
            partial.mkdir(parents=True, exist_ok=True)
        with locked(partial, out) as writes:
            for name, content in self._files.items():
                if "/" in name:
                    writes.make_folder(name.partition("/")[0])
                writes.write(name, content)
            publish(writes, out)

    def _train(self, task: str, verb: str, /, *arguments: Any, **options: Any) -> None:
        """Train by the function `verb` of `unroll.tasks.<task>.request`, and keep the model; raises InputError."""
        try:
            from unroll.nn.process import unchanged_torch

            train: Callable[..., Generator[Any, None, None]]
            train = getattr(import_module(f"unroll.tasks.{task}.request"), verb)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise UserError(
                "training needs PyTorch", allowed="predicting without", fix=install("train,sklearn")
            ) from None
        seed = seed_of(self.random_state)
        with unchanged_torch(), TemporaryDirectory(prefix="unroll-") as folder:
            out = Path(folder) / "model"
            try:
                for _ in train(*arguments, out=out, steps=self.steps, seed=seed, device=self.device, **options):
                    pass
            except UserError as error:
                raise InputError(error.what, allowed=error.allowed, fix=error.fix) from error
            self._keep(out)

    def _keep(self, folder: Path) -> None:
        """Keep the files of a model."""
        self._opened = self._open(folder)
        names = [*FILES, *(f"context/{path.name}" for path in sorted(folder.glob("context/*")))]
        self._files = {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}

    def _model(self) -> Any:
        """Return the model opened, after unpickling from its files; raises NotFittedError."""
        check_is_fitted(self)
        if not hasattr(self, "_opened"):
            with TemporaryDirectory(prefix="unroll-") as folder:
                for name, content in self._files.items():
                    (Path(folder) / name).parent.mkdir(exist_ok=True)
                    (Path(folder) / name).write_bytes(content)
                self._opened = self._open(Path(folder))
        return self._opened


def seed_of(random_state: Any) -> int:
    """Return a seed: a number as it is, or one drawn from a generator; raises ValueError for anything else."""
    generator = check_random_state(random_state)
    return int(random_state) if isinstance(random_state, Integral) else int(generator.randint(2**31 - 1))
