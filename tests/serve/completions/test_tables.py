"""The tables of fields: every default fits its schema, and every schema can be put in words."""

import pytest

from unroll.serve.completions.tables import COMPLETION, DETOKENIZE, EMBEDDING, TOKENIZE
from unroll.serve.fields import Table, allowed, fault


@pytest.mark.parametrize("table", [COMPLETION, EMBEDDING, TOKENIZE, DETOKENIZE])
def test_defaults_fit_and_every_schema_can_be_told(table: Table) -> None:
    for name, field in table.items():
        assert field.default is None or fault(field.default, field.schema) is None, name
        assert allowed(field.schema) and field.about
