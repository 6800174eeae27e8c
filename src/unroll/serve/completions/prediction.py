"""Labels, numbers and forecasts of sequences of numbers."""

from pathlib import Path
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from unroll.artifact.forecaster import OpenForecaster
from unroll.data.ragged import Vectors
from unroll.data.series import Series
from unroll.errors import UserError
from unroll.progress import result
from unroll.serve.completions.tables import PREDICTION
from unroll.serve.completions.tasks import answer, check_count, check_probabilities, listed
from unroll.serve.context import Context
from unroll.serve.errors import invalid, of_user_error
from unroll.serve.served import ServedSequences
from unroll.serve.settings import Settings
from unroll.tasks.forecast.predict import forecasts_of
from unroll.tasks.sequences.predict import answers, predictions

PARAM = "sequences"


async def predict(context: Context, request: Request) -> Response:
    """Return the label or the number of each sequence of a request, or how it continues; raises ApiError."""
    return await answer(context, request, PREDICTION, ServedSequences, _predicted)


def _predicted(fields: dict[str, Any], served: ServedSequences, settings: Settings) -> dict[str, Any]:
    sequences, model = fields[PARAM], served.opened
    check_count(len(sequences), settings.max_inputs, "sequences", PARAM)
    count = sum(map(len, sequences))
    check_count(count, settings.max_prompt_tokens, "steps", PARAM)
    ids = tuple(map(str, range(len(sequences))))
    rows = _vectors(sequences, served.channels)
    if isinstance(model, OpenForecaster):
        series = Series(Path(PARAM), rows, served.channels, ids, np.arange(1, len(ids) + 1))
        try:
            data = result(forecasts_of(model, series))
        except UserError as error:
            raise of_user_error(error, PARAM) from None
    else:
        check_probabilities(len(ids), model.info.config.outputs, settings, PARAM)
        data = predictions(model, ids, result(answers(model, rows)), None)
    for entry in data:
        del entry["id"]
    return listed("predict", served, data, count)


def _vectors(sequences: list[list[Any]], channels: tuple[str, ...]) -> Vectors:
    """Return the steps of sequences as vectors, NaN where a value is null; raises ApiError for a wrong number."""
    several = len(channels) != 1
    for k, sequence in enumerate(sequences):
        for t, step in enumerate(sequence):
            size = len(step) if isinstance(step, list) else 1
            if size != len(channels) or (several and not isinstance(step, list)):
                names = ", ".join(channels[:10]) + (", …" if len(channels) > 10 else "")
                raise invalid(
                    f"{PARAM}[{k}][{t}] has {size:,} numbers, and the model reads {len(channels):,}: {names}",
                    "a number, or null, for each channel at each step",
                    "send the channels of the training, in their order",
                    PARAM,
                )
    steps = [step if isinstance(step, list) else [step] for sequence in sequences for step in sequence]
    ends = np.cumsum([len(sequence) for sequence in sequences])
    return Vectors(np.array(steps, np.float64), ends)  # null becomes NaN
