"""The routes below /inside: loaded at the first request, and refused in three parts without torch."""

import pytest

from serve.inside.looking import Studio
from unroll.serve.inside import lazy


def test_without_torch_it_says_what_to_install(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    assert studio.get("properties")
    monkeypatch.setattr(lazy, "find_spec", lambda name: None)
    error = studio.client.get("/api/inside/properties").json()["error"]
    assert "PyTorch" in error["message"] and error["allowed"] and "train" in error["fix"]
