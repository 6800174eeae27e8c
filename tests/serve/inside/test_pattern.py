"""Regular expressions: applied in a separate process, and ended there."""

import time

import numpy as np
import pytest

from serve.inside.looking import TEXT
from unroll.errors import UserError
from unroll.insight.cells.properties import inside
from unroll.serve.inside.pattern import inside_apart


def test_an_expression_is_applied_apart_and_ended_where_it_takes_too_long() -> None:
    assert np.array_equal(inside_apart(r"“([^”]*)”", TEXT), inside(r"“([^”]*)”")(TEXT))
    with pytest.raises(UserError, match="not a regular expression"):
        inside_apart("(", "text")
    start = time.monotonic()
    with pytest.raises(UserError, match="longer than"):
        inside_apart("(a+)+$", "a" * 40 + "b", seconds=1.5)
    assert time.monotonic() - start < 10
