"""`unroll export`: a model for other runtimes."""

from pathlib import Path

import click

from unroll.cli import console
from unroll.cli.options import PATH, json_option


@click.command(
    "export",
    epilog="""\b
Inputs of a language model are ids (batch, length) and the state; outputs are logits (batch,
length, symbols) and the state after them, each by name. A state of zeros has read nothing. A
classifier reads ids and the rows' lengths (batch), and gives logits and probabilities (batch,
labels); a tagger those of every token. A model of sequences reads the values as they were
measured, and standardises them itself. A translator is two graphs: model.encoder.onnx reads the
sources, and the other is a step of the decoder. The vocabulary is written beside the file. Before
that, ONNX Runtime runs the graph, and its results are compared with those of our own network.

\b
Examples:
  unroll export runs/book                                    runs/book/onnx/model.onnx
  unroll export runs/book --to onnx --out web/book/model.onnx""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.option("--to", "form", type=click.Choice(["onnx"]), default="onnx", show_default=True, help="The format.")
@click.option("--out", metavar="FILE", type=PATH, help="The file to write.  [default: DIR/onnx/model.onnx]")
@json_option('"path", "inputs", "outputs", ...')
def verb(model: Path, form: str, out: Path | None, as_json: bool) -> None:
    """Write the model in DIR for another runtime, with its vocabulary and a JSON description beside the file."""
    from unroll.export.onnx import export_onnx

    exported = export_onnx(model, out)
    vocabularies = ", ".join(map(str, exported.vocabularies.values()))
    if as_json:
        console.put_json({"model": str(model), "to": form} | exported.to_json())
    else:
        console.put_columns([
            ("file", f"{exported.path} · {console.size(exported.bytes)}"),
            *((name, str(path)) for name, path in exported.beside.items()),
            *([("vocabulary", vocabularies)] if vocabularies else []),
            ("about", str(exported.about)),
            ("inputs", ", ".join(exported.inputs)),
            ("outputs", ", ".join(exported.outputs)),
            ("checked", f"run by ONNX Runtime on random inputs: at most {exported.difference:.1g} from our network"),
        ])  # fmt: skip
