"""What is chosen for a translator: by the pairs and the budget alone, and what may be fixed of it."""

from typing import Any

import pytest

from unroll.errors import UserError
from unroll.tasks.translate.recipe import (
    TABLES,
    PairsConfig,
    Sizes,
    TranslateTraining,
    TranslatorRecipe,
    choose,
    pieces_for,
)
from unroll.training.request import overrides_of

SIZES = Sizes(4000, 0, 29_000)


def chosen(steps: int = 1000, sizes: Sizes = SIZES, *, fast: bool = False, **settings: Any) -> TranslatorRecipe:
    return choose(PairsConfig(), sizes, steps, overrides_of(None, settings, {}, TABLES), fast=fast)


def test_it_validates_about_once_in_an_epoch_and_ten_times() -> None:
    assert chosen(100).training.valid_every == 10
    assert chosen(100_000).training.valid_every == 29_000 // chosen().training.batch_size


def test_a_batch_has_no_more_pairs_than_there_are() -> None:
    assert chosen(sizes=Sizes(100, 90, 7)).training.batch_size == 7
    assert chosen(sizes=Sizes(100, 90, 7)).model.source_size == 90


def test_bfloat16_is_chosen_where_it_is_fast_and_there_is_a_kernel() -> None:
    assert chosen(fast=True).training.precision == "bfloat16"
    assert chosen().training.precision == chosen(fast=True, arch="gru").training.precision == "float32"
    assert chosen(fast=True, precision="float32").training.precision == "float32"


def test_what_is_fixed_stays() -> None:
    recipe = chosen(hidden_size=7, attention="none", learning_rate=0.5, label_smoothing=0.3)
    assert (recipe.model.hidden_size, recipe.model.attention, recipe.optim.learning_rate) == (7, "none", 0.5)
    assert recipe.training.label_smoothing == 0.3


def test_pieces_grow_with_the_text() -> None:
    sizes = [pieces_for(words) for words in (10, 100_000, 738_000, 10**9)]
    assert sizes == sorted(sizes) and sizes[0] == 1000 and sizes[-1] == 16_000


@pytest.mark.parametrize("options", [{"min_count": 0}, {"max_units": 0}, {"pieces": -1}])
def test_what_cannot_be_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        PairsConfig(**options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="label_smoothing"):
        TranslateTraining(label_smoothing=1.0)
