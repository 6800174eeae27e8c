"""The recipe of a tagger is a function of the sentences and the budget; what a user fixes stays."""

from unroll.tasks.tag.recipe import TABLES, Sizes, TokensConfig, choose
from unroll.training.request import overrides_of

SIZES = Sizes(100, 20, 5, 50, context_size=7)


def test_it_follows_the_sentences() -> None:
    recipe = choose(TokensConfig(), SIZES, 40, overrides_of(None, (), {}, TABLES), threads=2)
    model, training = recipe.model, recipe.training
    assert (model.vocab_size, model.chars, model.tags, model.context_size) == (100, 20, 5, 7)
    assert training.batch_size == 32 and training.threads == 2 and training.valid_every == 1 and training.steps == 40
    assert training.label_smoothing > 0


def test_what_is_fixed_stays() -> None:
    fixed = overrides_of(None, {"char_hidden_size": 0, "batch_size": 80, "crf": True, "averaging": 0.0}, {}, TABLES)
    recipe = choose(TokensConfig(), SIZES, 40, fixed)
    assert recipe.model.chars == 0 and recipe.model.crf and recipe.training.batch_size == 80
    assert recipe.training.label_smoothing == 0 and recipe.optim.averaging == 0
