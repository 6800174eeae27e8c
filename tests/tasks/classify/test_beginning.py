"""A classifier that begins with a language model computes what that does; vectors of words are those of their file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.classify.toy import trained
from tiny import random_model
from unroll.artifact.classifier import read_classifier
from unroll.artifact.directory import WEIGHTS
from unroll.data.reader import Reader
from unroll.data.tokenizer import CharTokenizer, WordTokenizer
from unroll.errors import UserError
from unroll.nn.config import ModelConfig
from unroll.nn.encoder import Classifier, Units
from unroll.nn.encoder_config import ClassifierConfig
from unroll.progress import result
from unroll.tasks.classify.beginning import Beginning, read_vectors, shape_of
from unroll.tasks.classify.evaluate import evaluate_classifier
from unroll.training.request import train


@pytest.mark.parametrize(("arch", "layers"), [("lstm", 1), ("gru", 2), ("mingru", 1), ("rnn", 2)])
def test_its_layers_compute_what_they_did(arch: str, layers: int) -> None:
    shape = ModelConfig(vocab_size=11, arch=arch, embedding_size=6, hidden_size=10, num_layers=layers, skip="sum")  # type: ignore[arg-type]
    model = random_model(shape)
    own = ClassifierConfig(
        vocab_size=14, chars=5, char_hidden_size=3, char_embedding_size=2, labels=2, **shape_of(shape)
    )
    classifier = Classifier(own).double()
    vectors = torch.cat([model.embedding.weight.detach(), torch.zeros(3, 6, dtype=torch.float64)])
    names = {name: w.detach() for name, w in model.named_parameters() if name.startswith("recurrent.layers.")}
    taken = {name.replace("recurrent.layers.", "forwards."): w for name, w in names.items()}
    Beginning("", "", vectors, np.arange(14) < 11, taken).apply(classifier.eval())
    ids = torch.randint(11, (3, 25), generator=torch.Generator().manual_seed(0))
    words = torch.zeros((1, 2), dtype=torch.long), torch.tensor([2]), torch.zeros_like(ids)
    y, _ = classifier.encode(Units(ids, torch.tensor([25, 25, 25]), *words))
    expected, _ = model.hidden(ids)
    torch.testing.assert_close(y[:, :, :10].transpose(0, 1), expected, rtol=1e-9, atol=1e-9)
    assert float(classifier.embedding.weight[:11].detach().std()) == pytest.approx(0.1, rel=0.05)


@pytest.fixture(scope="module")
def language_model(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    text = folder / "text.txt"
    text.write_text("\n".join(line.split("\t")[0] for line in table.read_text().splitlines()[1:]) * 8)
    settings = {"hidden_size": 12, "embedding_size": 8, "sample_length": 3}
    for _ in train(text, out=folder / "model", level="word", steps=30, settings=settings, device="cpu"):
        pass
    return folder / "model"


def test_it_learns_from_there(language_model: Path, table: Path, unseen: Path, tmp_path: Path) -> None:
    settings = {"hidden_size": 12, "num_layers": 1}
    out = trained(table, tmp_path / "run", steps=80, pretrained=language_model, settings=settings)
    assert read_classifier(out).config.hidden_size == 12
    assert evaluate_classifier(out, unseen)["accuracy"] > 0.85


def test_a_model_of_another_level_or_shape_is_refused(language_model: Path, table: Path, tmp_path: Path) -> None:
    for key, value in (("level", "char"), ("hidden_size", 13)):
        with pytest.raises(UserError, match=key):
            trained(table, tmp_path / "run", steps=5, pretrained=language_model, settings={key: value})
    with pytest.raises(UserError, match="both a language model and vectors"):
        trained(table, tmp_path / "run", steps=5, pretrained=language_model, vectors=table)
    assert not list(tmp_path.iterdir())


def test_words_end_where_those_of_the_language_model_do(table: Path, tmp_path: Path) -> None:
    text, shape = tmp_path / "text.txt", {"hidden_size": 12, "embedding_size": 8}
    text.write_text("a cat , a dog and a cow .\n" * 60)
    for _ in train(text, out=tmp_path / "lm", level="word", steps=1, settings=shape | {"words": "space"}, device="cpu"):
        pass
    settings = {"hidden_size": 12, "num_layers": 1}
    out = trained(table, tmp_path / "run", steps=1, pretrained=tmp_path / "lm", settings=settings)
    assert 'words = "space"' in (out / "recipe.toml").read_text()
    with pytest.raises(UserError, match=r"words=unicode, and .* was trained with words=space"):
        trained(
            table, tmp_path / "other", steps=1, pretrained=tmp_path / "lm", settings=settings | {"words": "unicode"}
        )


def test_vectors_are_those_of_their_file(table: Path, tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text("meow 1 2 3\nwoof 4 5 6\nelsewhere 7 8 9\n")
    out = trained(table, tmp_path / "run", steps=1, vectors=tmp_path / "glove.txt", settings={"embedding_size": 3})
    assert read_classifier(out).config.embedding_size == 3 and (out / WEIGHTS).exists()
    assert "glove.txt" in (out / "recipe.toml").read_text() and "2 of " in (out / "metrics.jsonl").read_text()
    reader = Reader(WordTokenizer(("woof", "meow")))
    beginning = result(read_vectors(tmp_path / "glove.txt", reader, None))
    assert beginning.vectors[2:].tolist() == [[4, 5, 6], [1, 2, 3]]
    assert beginning.present.tolist() == [False, False, True, True]


def test_vectors_that_do_not_fit_are_refused(table: Path, tmp_path: Path) -> None:
    file = tmp_path / "glove.txt"
    file.write_text("meow 1 2 3\n")
    with pytest.raises(UserError, match="a unit here is a char"):
        result(read_vectors(file, Reader(CharTokenizer.learn("abc")), None))
    with pytest.raises(UserError):
        trained(table, tmp_path / "run", steps=1, vectors=file, settings={"embedding_size": 4})
    file.write_text("nothing 1 2 3\n")
    with pytest.raises(UserError, match="none of the"):
        trained(table, tmp_path / "run", steps=1, vectors=file, settings={"embedding_size": 3})
    file.write_text("meow 1 2 3\nwoof 1 two 3\n")
    with pytest.raises(UserError, match="line 2"):
        trained(table, tmp_path / "run", steps=1, vectors=file, settings={"embedding_size": 3})
    assert [path.name for path in tmp_path.iterdir()] == ["glove.txt"]
