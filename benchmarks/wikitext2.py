"""WikiText-2 by words: networks of equal size after as many steps, on the test and the validation text."""

import argparse
from pathlib import Path
from typing import Any

from measure import run_json, show

KEPT = ("tokens", "nats_per_token", "perplexity", "unknown_rate")


def main() -> None:
    """Evaluate finished model directories by `stream`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="directories trained by recipes/wikitext2-30min-*.toml")
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--cache", metavar="DIR", type=Path, help="one of them, of which a cache is measured as well")
    told = parser.parse_args()
    rows = [row(path, told.valid, told.test, cached=path == told.cache) for path in told.models]
    show({"benchmark": "wikitext-2", "protocol": "stream", "rows": rows})


def row(path: Path, valid: Path, test: Path, *, cached: bool) -> dict[str, Any]:
    """Return what a model is, how it was trained and what it reaches; a cache's options are fitted on `valid`."""
    known = run_json("info", path)
    on_valid = run_json("eval", path, valid)
    adapting: list[str | Path] = ["--adapt", "cache", "--valid", valid] if cached else []
    on_test = run_json("eval", path, test, *adapting)
    found = {
        "model": path.name,
        **{name: known[name] for name in ("arch", "layers", "hidden_size", "parameters", "steps", "tokens_seen")},
        "train_seconds": known["train_seconds"],
        "tokens_per_second": round(known["tokens_seen"] / known["train_seconds"]),
        "recipe": known["recipe"],
        "valid": {name: on_valid[name] for name in KEPT},
        "test": {name: on_test[name] for name in KEPT},
    }
    if cached:
        found["test_with_cache"] = {name: on_test["adapted"][name] for name in ("options", *KEPT)}
    return found


if __name__ == "__main__":
    main()
