"""Server settings: where it listens, who may send requests, and their limits."""

import ipaddress
from dataclasses import dataclass

from unroll.errors import UserError

PREFIX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Settings:
    """Server settings. Sizes are bytes, times seconds."""

    host: str = "127.0.0.1"
    port: int = 8000
    """The bound port, never 0."""
    api_keys: tuple[str, ...] = ()
    page_token: str | None = None
    """The key of the page: new at each start, needed for all paths under /api."""
    allow_hosts: tuple[str, ...] = ()
    """More names of the server, as `name` or `name:port`."""
    allow_origins: tuple[str, ...] = ()
    """More origins whose pages may send requests, as `https://name`."""

    slots: int = 1024
    """Streams that a model writes at a time."""
    queue: int = 1024
    """Streams that wait for a slot of a model."""
    connections: int = 1024

    max_body: int = 2**20
    max_upload: int = 64 * 2**20
    """Bytes of a body sent to /api/uploads."""
    max_prompts: int = 128
    """Prompts of a request; clients send batches of 20 by default."""
    max_prompt_tokens: int = 100_000
    max_tokens: int = 4096
    max_inputs: int = 2048
    """Texts of a request for vectors or labels; even an empty one has them."""
    max_choices: int = 128
    """Choices times prompts of a request."""
    max_echoed: int = 20_000
    """Symbols of a prompt whose probabilities are sent."""
    max_probabilities: int = 4_000_000
    """Symbols of the prompts and texts of a request, times 1 + logprobs; or texts, times labels. Held until sent."""

    read_seconds: float = 10.0
    """For the head of a request, and again for its body."""
    write_seconds: float = 30.0
    """A client that stops reading for longer is disconnected."""
    generation_seconds: float = 300.0
    drain_seconds: float = 5.0
    """How long running requests may take to end when the server stops."""
    ping_seconds: float = 15.0

    prefix_bytes: int = PREFIX_BYTES
    """Bytes of states after prompts that are kept for reuse, for each model."""
    state_bytes: int = PREFIX_BYTES
    """Bytes of states that requests have handles to."""

    def __post_init__(self) -> None:
        if not is_loopback(self.host) and not self.api_keys:
            raise UserError(
                f"{self.host} can be reached from other machines, and there is no key",
                allowed="a loopback address such as 127.0.0.1, or an address with a key",
                fix="set a key with --api-key or in UNROLL_API_KEY, or leave out --host",
            )
        for name in ("slots", "queue", "connections", "max_tokens"):
            if (value := getattr(self, name)) < (0 if name == "queue" else 1):
                raise UserError(f"{name} is {value}", allowed="1 or more", fix="choose a larger number")
        for key in (*self.api_keys, *([self.page_token] if self.page_token is not None else [])):
            if not key or not key.isascii() or not key.isprintable() or key != key.strip() or " " in key:
                raise UserError("invalid API key", allowed="printable ASCII without spaces", fix="choose another key")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def hosts(self) -> frozenset[str]:
        """Accepted values of the header Host, in lower case."""
        names = ["127.0.0.1", "localhost", "[::1]"]
        if self.host not in ("0.0.0.0", "::"):
            names.append(f"[{self.host}]" if ":" in self.host else self.host.lower())
        hosts = {f"{name}:{self.port}" for name in names}
        for name in (name.lower() for name in self.allow_hosts):
            hosts |= {name} if _has_port(name) else {name, f"{name}:{self.port}"}
        return frozenset(hosts | (set(names) if self.port == 80 else set()))

    @property
    def origins(self) -> frozenset[str]:
        """Accepted values of the header Origin."""
        own = {f"{scheme}://{host}" for host in self.hosts for scheme in ("http", "https")}
        return frozenset(own | {origin.lower().rstrip("/") for origin in self.allow_origins})


def is_loopback(host: str) -> bool:
    """Return whether an address is reachable from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _has_port(name: str) -> bool:
    return name.rpartition("]")[2].partition(":")[1] == ":"
