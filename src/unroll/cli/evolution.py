"""`unroll evolution`: the samples that were taken while a model learned."""

from pathlib import Path

import click

from unroll.cli import console
from unroll.cli.options import PATH, json_option


@click.command(
    "evolution",
    epilog="""\b
Examples:
  unroll evolution runs/book
  unroll evolution runs/book --json""",
)
@click.argument("model", metavar="DIR", type=PATH)
@json_option('"samples": [...]')
def verb(model: Path, as_json: bool) -> None:
    """Show how the model in DIR learned: its samples at step 0, 100, 300, 500, ... with the same seed and prompt."""
    from unroll.artifact.info import evolution, info

    samples = evolution(model)
    if as_json:
        console.put_json({"samples": samples})
        return
    description = info(model)
    for sample in samples:
        console.put_rule(f"step {sample['step']:,} · {console.quality_of(description, sample['nats'], 'train')}")
        console.put(console.printable(sample["prompt"] + sample["text"]))
