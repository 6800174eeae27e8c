"""Settings: what a server refuses to be."""

import pytest

from unroll.errors import UserError
from unroll.serve.settings import Settings, is_loopback


def test_without_a_key_only_this_machine_is_served() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org", ""):
        assert not is_loopback(host)
        with pytest.raises(UserError, match="no key"):
            Settings(host=host)
        Settings(host=host, api_keys=("k",))
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        assert Settings(host=host).loopback
    for key in ("", " a", "a b", "é", "a\n"):
        with pytest.raises(UserError, match="invalid API key"):
            Settings(api_keys=(key,))
