"""The routes of the API: models, and what these models do not do."""

import openai
import pytest

from serve.live import LEVELS, Live, told


def test_models_are_listed_and_found(live: Live) -> None:
    client = live.openai()
    assert [model.id for model in client.models.list()] == list(LEVELS)
    assert client.models.retrieve("word").object == "model"
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("nothing")
    assert told(error.value)["code"] == "model_not_found" and told(error.value)["param"] == "model"


def test_chat_is_refused_with_a_word(live: Live) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        live.openai().chat.completions.create(model="char", messages=[{"role": "user", "content": "a"}])
    fault = told(error.value)
    assert fault["code"] == "unsupported_endpoint" and "/v1/completions" in fault["message"]
