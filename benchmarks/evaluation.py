"""What `unroll eval` measures of a model on a text: static, adapted, mixed. Its arguments are those of the verb."""

import sys
from pathlib import Path
from typing import Any

from measure import run_json, show


def named(value: Any) -> Any:
    """Return what was measured with names where it has paths, which mean nothing elsewhere."""
    match value:
        case dict():
            return {key: named(part) for key, part in value.items()}
        case list():
            return [named(part) for part in value]
        case str() if value.startswith("/"):
            return Path(value).name
    return value


def main() -> None:
    """Run the evaluation and print its figures."""
    show({"benchmark": "evaluation", **named(run_json("eval", *sys.argv[1:]))})


if __name__ == "__main__":
    main()
