"""A classifier as an ONNX graph: padded rows of units and their lengths in, logits and probabilities out."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from unroll.artifact.classifier import open_classifier, read_classifier, read_reader
from unroll.export.encoder import described, encoded, inputs_of, read_by, readings
from unroll.export.graph import Case, Graph, Network, Source, Weights, floats, linear
from unroll.export.layers import pooled
from unroll.nn.encoder_config import ClassifierConfig, classifier_parameters
from unroll.settings import to_mapping
from unroll.tasks.classify.predict import of_logits


def classifier_source(path: Path) -> Source:
    """Return what an export needs of a classifier."""
    info = read_classifier(path)
    vocabularies, about = read_by(read_reader(path, info))
    about |= {
        "max_units": info.max_units,
        "labels": list(info.labels),
        "text_columns": list(info.text_columns),
        "label_column": info.label_column,
        "model": to_mapping(info.config),
    }
    return Source(
        parameters=classifier_parameters(info.config),
        vocabularies=vocabularies,
        about=about,
        network=Network(
            inputs=inputs_of(info.config),
            outputs=("logits", "probabilities"),
            build=partial(build, info.config),
            cases=partial(cases, path),
        ),
    )


def cases(path: Path) -> Iterator[Case]:
    """Yield what goes in and comes out of our own network."""
    network = open_classifier(path).network
    for reading, inputs in readings(network.config):
        logits = network.logits(reading)
        yield inputs, [logits, of_logits(logits, multi_label=network.config.multi_label)]


def build(config: ClassifierConfig, weights: Weights, about: Mapping[str, str]) -> bytes:
    """Return the network as an ONNX file."""
    graph = Graph()
    y, rows = encoded(graph, config, weights)
    x = pooled(graph, y, config, weights, rows)
    graph.add("Identity", linear(graph, x, weights, "head"), name="logits")
    if config.multi_label:
        graph.add("Sigmoid", "logits", name="probabilities")
    else:
        graph.add("Softmax", "logits", name="probabilities", axis=-1)
    outputs = [floats(name, "batch", config.labels) for name in ("logits", "probabilities")]
    doc = "A classifier: rows of units and their lengths in, logits and probabilities of the labels out."
    return graph.file(described(config), outputs, about, doc)
