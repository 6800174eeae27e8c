"""`unroll export`: a model for other runtimes."""

from pathlib import Path

import click

from unroll.cli import console

PATH = click.Path(path_type=Path)


@click.command(
    "export",
    epilog="""\b
ids (batch, length) and the state go in, logits (batch, length, symbols) and the state after come
out, each by its name; a state of zeros has read nothing. The vocabulary lies beside the file.
Before it is written it is run by ONNX Runtime and held against our own network.

\b
Examples:
  unroll export runs/book --to onnx                          runs/book/onnx/model.onnx
  unroll export runs/book --to onnx --out web/book/model.onnx""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.option("--to", "form", type=click.Choice(["onnx"]), required=True, help="The form to write it in.")
@click.option("--out", metavar="FILE", type=PATH, help="Where.  [default: DIR/onnx/model.onnx]")
@click.option("--json", "as_json", is_flag=True, help='Print one JSON object: {"path", "inputs", "outputs", ...}.')
def verb(model: Path, form: str, out: Path | None, as_json: bool) -> None:
    """Write the model in DIR for another runtime; its vocabulary and a description as JSON lie beside the file."""
    from unroll.export.onnx import export_onnx

    made = export_onnx(model, out)
    if as_json:
        console.put_json({"model": str(model), "to": form} | made.to_json())
        return
    console.put_columns([
        ("file", f"{made.path} · {console.size(made.bytes)}"),
        ("vocabulary", str(made.tokenizer)),
        ("about", str(made.about)),
        ("inputs", ", ".join(made.inputs)),
        ("outputs", ", ".join(made.outputs)),
        ("checked", f"run by ONNX Runtime from random states: at most {made.difference:.1g} from our network"),
    ])  # fmt: skip
