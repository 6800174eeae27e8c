"""The tables of fields: every default fits its schema, and every schema can be put in words."""

import pytest

from unroll.serve.fields import Table, allowed, fault
from unroll.serve.studio.tables import (
    COMPARE,
    ERRORS,
    KEEP_TEXT,
    LABELS,
    NEXT,
    PASSAGE,
    READ,
    SAMPLE,
    TRAIN,
    WATCH,
)


@pytest.mark.parametrize("table", [KEEP_TEXT, PASSAGE, READ, NEXT, LABELS, ERRORS, COMPARE, SAMPLE, TRAIN, WATCH])
def test_defaults_fit_and_every_schema_has_words(table: Table) -> None:
    for name, field in table.items():
        assert allowed(field.schema), name
        assert field.default is None or fault(field.default, field.schema) is None, name
        assert field.default is None or not field.required, name
