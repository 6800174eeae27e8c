"""What the page shows of samples beside their text is what `unroll.style` says of them."""

from pathlib import Path

import unroll
from insight.style.cases import model_with
from tiny import text as toy_text
from unroll.artifact.directory import data_path
from unroll.data.corpus import open_corpus
from unroll.insight.style.measure import measures
from unroll.serve.studio.style import Beside
from unroll.serve.studio.trainings import Trainings


def test_samples_are_measured_once_and_as_the_library_does(tmp_path: Path) -> None:
    samples = {0: "xqz! Jkw vbn. ,yyy ppp", 100: "John is driving the car. Alyce was a cat."}
    path = model_with(tmp_path, toy_text(170), samples)
    style = unroll.style(path)
    measured = Beside.of(open_corpus(data_path(path)))
    texts = list(samples.values())
    assert measured.known(texts[0]) is None and measured.style() is None
    measured.measure(texts)
    for sample in style.samples:
        known = measured.known(sample["text"])
        assert known is not None and known["measures"] == sample["measures"]
    assert measured.style() == {"kind": style.kind, "ceiling": style.ceiling}
    known = measured.known(texts[1])
    assert known is not None
    assert [texts[1][slice(*span)] for span in known["spans"]] == ["John", "driving", "the", "car", "was", "cat"]
    assert measures(texts[1], measured.reference)["words"] == 6 / 7


def test_a_training_answers_with_its_style_once_it_was_looked_at(tmp_path: Path) -> None:
    path = model_with(tmp_path / "runs" / "x", toy_text(170), {0: "John is driving the car."})
    (path / "metrics.jsonl").write_text("")
    trainings = Trainings(path.parent, tmp_path)
    before = trainings.watch("model", 0, 0, 0)
    assert trainings.unmeasured("model") and before["style"] is None and before["samples"][0]["known"] is None
    trainings.look("model")
    after = trainings.watch("model", 0, 0, 0)
    assert not trainings.unmeasured("model")
    assert after["style"]["kind"] == "plain" and after["style"]["ceiling"]["words"] == 1
    assert after["samples"][0]["known"]["measures"].keys() == after["style"]["ceiling"].keys()
    with open(path / "samples.jsonl", "a") as log:
        log.write('{"step": 9, "nats": 1.0, "prompt": "", "text": "Alice forgets."}\n')
    assert trainings.unmeasured("model")
    trainings.look("model")
    after = trainings.watch("model", 0, 0, 0)
    assert after["samples"][1]["known"]["spans"] == [(0, 5), (6, 13)]
    assert after["style"]["ceiling"] == unroll.style(path).ceiling, "of pieces as long as both samples"
