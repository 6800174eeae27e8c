"""Labels of texts, in the form of vLLM's classification API."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from unroll.progress import result
from unroll.serve.completions.tables import CLASSIFICATION
from unroll.serve.completions.tasks import answer, check_count, check_probabilities, listed, read_units
from unroll.serve.context import Context
from unroll.serve.served import ServedClassifier
from unroll.serve.settings import Settings
from unroll.tasks.classify.predict import probabilities


async def classify(context: Context, request: Request) -> Response:
    """Return the label of each text of a request, and the probabilities of all labels; raises ApiError."""
    return await answer(context, request, CLASSIFICATION, ServedClassifier, _labels)


def _labels(fields: dict[str, Any], served: ServedClassifier, settings: Settings) -> dict[str, Any]:
    texts = [fields["input"]] if isinstance(fields["input"], str) else fields["input"]
    check_count(len(texts), settings.max_inputs, "texts", "input")
    labels = served.opened.info.labels
    check_probabilities(len(texts), len(labels), settings, "input")
    count = read_units(served.opened.reader, served.name, texts, settings.max_prompt_tokens, "input")
    rows = result(probabilities(served.opened, texts)).probabilities
    data = [{"label": labels[row.argmax()], "probs": row.tolist(), "num_classes": len(labels)} for row in rows]
    return listed("classify", served, data, count)
