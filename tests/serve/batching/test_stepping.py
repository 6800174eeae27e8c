"""Drawing for all rows at once is drawing row by row."""

import numpy as np

from unroll.engine.draw import Drawing, draw_rows
from unroll.predict.ngram import NgramPredictor
from unroll.serve.batching.stepping import draw_all, generate_with

NEVER = np.zeros(1, np.int32)
"""Nobody halts it."""


def test_rows_at_once_draw_what_each_draws_alone() -> None:
    random = np.random.default_rng(0)
    for _ in range(400):
        rows, size = random.integers(1, 40), random.integers(2, 60)
        logits = random.normal(scale=random.choice([0.1, 2, 30]), size=(rows, size))
        logits[random.random(logits.shape) < 0.2] = 0.5  # ties
        drawing = Drawing(
            random.choice([0.0, 1e-120, 0.3, 1.0, 2.0], rows),
            random.choice([0, 1, 2, 5, 100], rows),
            random.choice([1e-9, 0.3, 0.9, 1.0], rows),
            random.choice([0.0, 0.05, 0.5, 1.0], rows),
            (None, 0, 1)[random.integers(3)],
        )
        numbers = random.choice([0.0, 0.5, 1 - 2**-53, random.random()], rows)
        assert draw_all(logits, drawing, numbers).tolist() == draw_rows(logits, drawing, numbers).tolist()


def test_a_predictor_without_a_way_of_its_own_is_stepped() -> None:
    """Each row's result is what it is alone, and its nats are the predictor's."""

    class Counts:
        """Predicts by the last symbol alone."""

        vocab_size = 7
        table = np.random.default_rng(1).normal(size=(7, 7))

        def logits(self, inputs: np.ndarray, state: object = None) -> tuple[np.ndarray, object]:
            return self.table[inputs[:, -1]], ((inputs[:, -1:],),)

    generate = generate_with(Counts())  # type: ignore[arg-type]
    numbers = np.random.default_rng(2).random((5, 9))
    logits = np.random.default_rng(3).normal(size=(5, 7))
    ids, nats, after, _ = generate(logits, ((np.zeros((5, 1)),),), Drawing(), numbers, NEVER)
    for row in range(5):
        alone = generate(logits[[row]], ((np.zeros((1, 1)),),), Drawing(), numbers[[row]], NEVER)
        assert alone[0].tolist() == ids[[row]].tolist() and alone[1].tolist() == nats[[row]].tolist()
    before = np.concatenate([logits[:, None], Counts.table[ids[:, :-1]]], axis=1)
    said = before - np.log(np.exp(before).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(nats, -np.take_along_axis(said, ids[..., None], axis=2)[..., 0], rtol=1e-12)
    assert after.tolist() == Counts.table[ids[:, -1]].tolist()
    first = generate(logits, ((np.zeros((5, 1)),),), Drawing(), numbers, np.ones(1, np.int32))
    assert first[0].tolist() == ids[:, :1].tolist() and first[2].tolist() == Counts.table[ids[:, 0]].tolist()
    assert not hasattr(NgramPredictor, "generate")
