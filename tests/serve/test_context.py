"""The context: what the routes share is made once for an application, and not replaced."""

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from serve.live import Live


def test_the_routes_share_one_context(live: Live) -> None:
    app: Any = live.server.config.app
    assert app.state.context is live.context and live.context.settings is live.settings
    for field in fields(live.context):
        with pytest.raises(FrozenInstanceError):
            setattr(live.context, field.name, None)
