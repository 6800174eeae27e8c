"""What `unroll eval` measures of a model on a text: static, adapted, mixed. Its arguments are those of the verb."""

import sys

from measure import run_json, show


def main() -> None:
    """Run the evaluation and print its figures."""
    show({"benchmark": "evaluation", "arguments": sys.argv[3:], **run_json("eval", *sys.argv[1:])})


if __name__ == "__main__":
    main()
