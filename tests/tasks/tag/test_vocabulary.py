"""The vocabularies of a tagger are those of training: tokens as wholes, whatever they contain."""

from unroll.tasks.tag.recipe import TokensConfig
from unroll.tasks.tag.vocabulary import learn_reader

SENTENCES = (("The", "10 000", "cats", "<unk>"), ("the", "cats", "saw", "\u00a0", "<eos>"))


def test_a_token_is_one_unit_whatever_it_contains() -> None:
    reader = learn_reader(SENTENCES, TokensConfig())
    ids = reader.read_tokens(SENTENCES).units
    assert ids.lengths.tolist() == [4, 5] and len({*ids.values.tolist()}) == 6
    assert ids[0][0] == ids[1][0] and ids[0][3] == ids[1][4] == 0, "in small letters; what is no token is unknown"
    assert reader.read_tokens([("10", "000")]).units.values.tolist() == [0, 0]


def test_a_token_with_a_newline_is_unknown() -> None:
    reader = learn_reader((("two\nlines", "one"),), TokensConfig())
    assert reader.read_tokens([("two\nlines", "one")]).units.values.tolist() == [0, 2]


def test_case_and_rare_tokens() -> None:
    reader = learn_reader(SENTENCES, TokensConfig(lowercase=False, min_count=2))
    assert reader.read_tokens([("The", "the", "cats")]).units.values.tolist() == [0, 0, 2]


def test_characters_are_those_as_written() -> None:
    reader = learn_reader(SENTENCES, TokensConfig())
    read = reader.read_tokens([("The", "the", "The")])
    assert read.word_of.values.tolist() == [0, 1, 0] and len(read.words) == 2
    assert read.units.values.tolist()[0] == read.units.values.tolist()[1]
    assert read.words[0].tolist() != read.words[1].tolist()
