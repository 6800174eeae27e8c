"""The ONNX export: the laws run through ONNX Runtime, what it is held against, and that faults in it are caught."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import unroll
from export.page import printed
from export.session import Session
from laws.cases import CASES, ROWS, STEPS, VOCAB, Case, config, start_state
from laws.laws import (
    Outcome,
    Subject,
    law_causal,
    law_engines,
    law_limit,
    law_memory,
    law_probabilities,
    law_rows,
    law_split,
)
from tiny import text
from unroll.artifact import checkpoint
from unroll.artifact.directory import WEIGHTS, save_description
from unroll.data.documents import DocumentTokenizer
from unroll.data.tokenizer import ByteTokenizer, CharTokenizer, WordTokenizer
from unroll.errors import UserError
from unroll.export import graph
from unroll.export import onnx as export
from unroll.export.language import as_layers, state_shapes
from unroll.export.onnx import Exported, export_onnx
from unroll.files import write_atomically
from unroll.nn.arch import ARCHITECTURES, RECURRENT
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.state import State

TOKENIZER = CharTokenizer.learn("abcde")
FLOATS = [
    replace(case, dtype=torch.float32)
    for case in CASES
    if case.engine == "fused" and case.dtype == torch.float64 and case.name not in ("window-of-40",)
] + [
    Case("window-of-1", config("window", 2, window=1), dtype=torch.float32),
    Case("window-of-20", config("window", 1, window=20), dtype=torch.float32),
    Case(
        "lstm-2-tied-even",
        config("lstm", 2, tie_weights=True, embedding_size=8, skip="sum", layers_after=2),
        dtype=torch.float32,
    ),
]
"""All cells, depths and ways of joining, in the precision in which they are exported."""


def save_model(path: Path, model: Model, tokenizer: Any = TOKENIZER) -> Path:
    """Write what a model directory needs to be used."""
    path.mkdir(parents=True)
    tokenizer.save(path / "tokenizer.json")
    save_description(path, model.config, tokenizer)
    checkpoint.save_tensors(path / WEIGHTS, dict(model.named_parameters()), {"step": 7})
    return path


def session_of(path: Path) -> Session:
    return Session(export_onnx(path).path.read_bytes())


def fresh_state(session: Session, rows: int) -> dict[str, NDArray[np.float32]]:
    """Return the state of rows that have read nothing: zeros."""
    return {name: np.zeros((rows, *shape[1:]), np.float32) for name, shape in session.inputs}


def subject_of(session: Session, model: Model, ids: Tensor) -> Subject:
    """Return an exported network as what the laws are tried on; it knows no resets."""
    shape = model.config

    def run(ids: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
        assert resets is None
        names = fresh_state(session, len(ids))
        if state is not None:
            parts = [part.numpy() for layer in state for part in layer]
            names = dict(zip(names, parts, strict=True))
        logits, after = session.run(ids.numpy(), names)
        layers = as_layers(after, shape)
        return torch.from_numpy(logits), tuple(tuple(torch.from_numpy(part) for part in layer) for layer in layers)

    return Subject(run, ids, start_state(model), VOCAB, 1e-5)


@pytest.fixture(scope="module", params=FLOATS, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def subject(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    model = case.model()
    path = save_model(tmp_path_factory.mktemp("model") / "model", model)
    return subject_of(session_of(path), model, case.ids())


# ---- the laws


@pytest.mark.parametrize("law", [law_split, law_rows, law_causal, law_probabilities])
def test_the_laws_hold_in_onnx_runtime(law: Callable[[Subject], None], subject: Subject) -> None:
    law(subject)


def test_it_remembers_nothing_but_the_state(case: Case, subject: Subject) -> None:
    if case.config.arch != "window" or case.config.window > 1:  # a window of one symbol has no state
        law_memory(subject)


@pytest.mark.parametrize("window", [2, 5, 20])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_window_ends_where_it_ends(window: int, num_layers: int, tmp_path: Path) -> None:
    case = Case("", config("window", num_layers, window=window), dtype=torch.float32)
    path = save_model(tmp_path / "model", case.model())
    law_limit(subject_of(session_of(path), case.model(), case.ids()), window)


def test_it_is_another_engine_of_the_same_network(case: Case, subject: Subject) -> None:
    model = case.model()
    assert STEPS > 20 and len(subject.ids) == ROWS
    for state in (subject.state, model.fresh_state(ROWS)):
        with torch.inference_mode():
            ours = Outcome(*model.forward(subject.ids, state), {})
        law_engines(Outcome(*subject.run(subject.ids, state), {}), ours, subject.tolerance)


def test_the_cases_cover_what_they_say() -> None:
    shapes = [case.config for case in FLOATS]
    assert {shape.arch for shape in shapes} == set(ARCHITECTURES)
    assert {(shape.arch, shape.skip) for shape in shapes} >= {
        (arch, skip) for arch in RECURRENT for skip in ("none", "residual", "sum")
    }
    assert any(s.tie_weights and s.embedding_size != s.hidden_size for s in shapes)
    assert any(s.tie_weights and s.embedding_size == s.hidden_size for s in shapes)
    assert any(s.layers_before and s.layers_after for s in shapes)


# ---- faults that the check before writing must see

SHAPES: dict[str, ModelConfig] = {
    "lstm": config("lstm", 2, skip="residual", layers_before=1, layers_after=1, tie_weights=True),
    "gru": config("gru", 2, skip="sum"),
    "mingru": config("mingru", 2, skip="residual"),
    "rnn": config("rnn", 2),
    "window": config("window", 2),
}


def gates(arch: str, order: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setitem(graph.ORDER, arch, order)


def changed(name: str, change: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a fault: weights whose name ends so are written changed."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        read = export.read_weights
        patch.setattr(
            export,
            "read_weights",
            lambda path: {key: change(w) if key.endswith(name) else w for key, w in read(path).items()},
        )

    return plant


def without(operator: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a fault: an operation hands on its first input as it is."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        add = graph.Graph.add

        def faulty(writer: Any, called: str, *inputs: str, **options: Any) -> Any:
            if called != operator:
                return add(writer, called, *inputs, **options)
            return add(writer, "Identity", inputs[0], name=options.get("name", ""))

        patch.setattr(graph.Graph, "add", faulty)

    return plant


def option(attributes: dict[str, Any]) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a fault: a recurrent operation with another option."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        add = graph.Graph.add

        def faulty(writer: Any, called: str, *inputs: str, **options: Any) -> Any:
            return add(writer, called, *inputs, **(options | (attributes if called in ("GRU", "LSTM", "RNN") else {})))

        patch.setattr(graph.Graph, "add", faulty)

    return plant


def stale_state(patch: pytest.MonkeyPatch) -> None:
    """The state before comes back as the state after."""
    add = graph.Graph.add

    def faulty(writer: Any, called: str, *inputs: str, **options: Any) -> Any:
        name = options.get("name", "")
        return add(writer, "Identity", name.removesuffix("_after"), name=name) if name.endswith("_after") else add(
            writer, called, *inputs, **options
        )  # fmt: skip

    patch.setattr(graph.Graph, "add", faulty)


FAULTS: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "lstm in our order": ("lstm", gates("lstm", "ifgo")),
    "lstm o and f swapped": ("lstm", gates("lstm", "ifog")),
    "lstm i and f swapped": ("lstm", gates("lstm", "foig")),
    "gru in our order": ("gru", gates("gru", "rzn")),
    "gru reset before the product": ("gru", option({"linear_before_reset": 0})),
    "lstm another activation": ("lstm", option({"activations": ["Sigmoid", "Sigmoid", "Tanh"]})),
    "rnn relu": ("rnn", option({"activations": ["Relu"]})),
    "recurrent bias lost": ("lstm", changed("bias_hh", lambda w: 0 * w)),
    "one weight a little off": ("rnn", changed("layers.1.weight_hh", lambda w: w + np.float32(0.01) * (w == w.max()))),
    "output bias lost": ("gru", changed("head.bias", lambda w: 0 * w)),
    "mingru z and n swapped": ("mingru", changed("weight_ih", lambda w: np.concatenate(np.split(w, 2)[::-1]))),
    "mingru bias lost": ("mingru", changed("bias_ih", lambda w: 0 * w)),
    "mingru z unsquashed": ("mingru", without("Sigmoid")),
    "mingru stale": ("mingru", stale_state),
    "window reversed": ("window", changed("layers.0.weight", lambda w: w[:, ::-1].copy())),
    "gelu without erf": ("lstm", without("Erf")),
    "window stale": ("window", stale_state),
    "lstm stale": ("lstm", stale_state),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught_and_nothing_is_written(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arch, plant = FAULTS[fault]
    path = save_model(tmp_path / "model", Case("", SHAPES[arch], dtype=torch.float32).model())
    out = tmp_path / "out" / "model.onnx"
    with monkeypatch.context() as patch:
        plant(patch)
        with pytest.raises(UserError, match="differs from ours"):
            export_onnx(path, out)
    assert not out.parent.exists()
    assert sorted(file.name for file in tmp_path.rglob("*onnx*")) == []
    export_onnx(path, out)
    assert sorted(file.name for file in out.parent.iterdir()) == ["model.onnx", "model.onnx.json", "tokenizer.json"]


def test_a_fault_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_model(tmp_path / "model", Case("", SHAPES["lstm"], dtype=torch.float32).model())
    before = export_onnx(path).path.read_bytes()
    gates("lstm", "ifgo")(monkeypatch)
    with pytest.raises(UserError, match="differs from ours"):
        export_onnx(path)
    assert (path / "onnx" / "model.onnx").read_bytes() == before


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_model(tmp_path / "model", Case("", SHAPES["gru"], dtype=torch.float32).model())

    def full(file: Path, data: bytes) -> None:
        if file.suffix == ".onnx":
            raise UserError("no space left")
        write_atomically(file, data)

    monkeypatch.setattr(export, "write_atomically", full)
    with pytest.raises(UserError, match="no space"):
        export_onnx(path, tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    monkeypatch.undo()
    export_onnx(path, tmp_path / "model.onnx")
    before = {file: file.read_bytes() for file in tmp_path.glob("*.*")}
    assert len(before) == 3
    other = save_model(tmp_path / "other", Case("", SHAPES["lstm"], dtype=torch.float32).model())
    monkeypatch.setattr(export, "write_atomically", full)
    with pytest.raises(UserError, match="no space"):
        export_onnx(other, tmp_path / "model.onnx")
    assert {file: file.read_bytes() for file in tmp_path.glob("*.*")} == before


# ---- what is written


def test_it_says_what_it_is(tmp_path: Path) -> None:
    import onnx

    path = save_model(tmp_path / "model", Case("", SHAPES["lstm"], dtype=torch.float32).model())
    report = export_onnx(path)
    assert report.path == path / "onnx" / "model.onnx" and report.bytes == report.path.stat().st_size
    assert report.inputs == ("ids", "layer0_h", "layer0_c", "layer1_h", "layer1_c")
    assert report.outputs == ("logits", *(f"{name}_after" for name in report.inputs[1:]))
    assert 0 < report.difference < 1e-5
    onnx_model = onnx.load(report.path)
    metadata = {entry.key: entry.value for entry in onnx_model.metadata_props}
    assert metadata["tokenizer"] == "tokenizer.json" and metadata["level"] == "char"
    assert metadata["tokenizer_digest"] == TOKENIZER.digest
    assert (metadata["start_id"], metadata["unknown_id"]) == (str(TOKENIZER.start_id), "0")
    assert json.loads(metadata["model"])["arch"] == "lstm"
    assert report.tokenizer.read_bytes() == (path / "tokenizer.json").read_bytes()
    notes = json.loads(report.about.read_bytes())
    assert report.about == path / "onnx" / "model.onnx.json"
    assert (notes["start_id"], notes["unknown_id"], notes["vocab_size"]) == (TOKENIZER.start_id, 0, VOCAB)
    assert notes["state"] == {name: [8] for name in report.inputs[1:]}
    assert notes["end_id"] is None
    as_text = {name: json.dumps(value, sort_keys=True) for name, value in notes.items() if not isinstance(value, str)}
    assert notes | as_text | {"end_id": ""} == metadata
    values = [*onnx_model.graph.input, *onnx_model.graph.output]
    shapes = {value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
    assert tuple(shapes) == (*report.inputs, *report.outputs)
    assert shapes["ids"] == ["batch", "length"] and shapes["logits"] == ["batch", "length", VOCAB]
    assert shapes["layer1_c"] == shapes["layer1_c_after"] == ["batch", 8]
    assert all(
        re.fullmatch(r"[A-Za-z_]\w*", name) for node in onnx_model.graph.node for name in (node.name, *node.output)
    )


def test_equal_weights_are_equal_files(tmp_path: Path) -> None:
    model = Case("", SHAPES["gru"], dtype=torch.float32).model()
    files = [export_onnx(save_model(tmp_path / name, model)).path for name in ("one", "other")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("tokenizer", "start", "unknown", "end"),
    [
        (ByteTokenizer(), "10", "", ""),
        (WordTokenizer(("a", "b", "c", "d", "e")), "1", "0", ""),
        (DocumentTokenizer(WordTokenizer(("a", "b", "c", "d", "e")), "|"), "7", "0", "7"),
    ],
    ids=["byte", "word", "documents"],
)
def test_every_level_has_its_start_and_end(tokenizer: Any, start: str, unknown: str, end: str, tmp_path: Path) -> None:
    import onnx

    model = Case("", replace(SHAPES["rnn"], vocab_size=tokenizer.vocab_size), dtype=torch.float32).model()
    onnx_model = onnx.load(export_onnx(save_model(tmp_path / "model", model, tokenizer)).path)
    metadata = {entry.key: entry.value for entry in onnx_model.metadata_props}
    assert (metadata["start_id"], metadata["unknown_id"], metadata["level"]) == (start, unknown, tokenizer.level)
    assert metadata["end_id"] == end
    notes = json.loads((tmp_path / "model" / "onnx" / "model.onnx.json").read_bytes())
    assert (notes["start_id"], notes["unknown_id"]) == (int(start), int(unknown) if unknown else None)
    assert notes["end_id"] == (int(end) if end else None)


def test_the_parts_of_a_state_become_layers() -> None:
    for shape in SHAPES.values():
        names = [name for name, _ in state_shapes(shape)]
        layers = as_layers({name: np.full((), k, np.float32) for k, name in enumerate(names)}, shape)
        assert [float(part) for layer in layers for part in layer] == list(range(len(names)))
        assert [len(layer) for layer in layers] == [len(layer) for layer in Model(shape).fresh_state(1)]


# ---- refusals


def test_what_cannot_be_exported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_model(tmp_path / "model", Case("", SHAPES["lstm"], dtype=torch.float32).model())
    for out in (path / WEIGHTS, tmp_path / "model", tmp_path / "folder.onnx"):
        (tmp_path / "folder.onnx").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="not the name of an ONNX file"):
            export_onnx(path, out)
    other = tmp_path / "other" / "tokenizer.json"
    other.parent.mkdir()
    CharTokenizer.learn("xyz").save(other)
    content = other.read_bytes()
    with pytest.raises(UserError, match="another vocabulary"):
        export_onnx(path, other.with_name("model.onnx"))
    assert other.read_bytes() == content and [file.name for file in other.parent.iterdir()] == ["tokenizer.json"]
    with pytest.raises(UserError, match="no model directory"):
        export_onnx(tmp_path / "nowhere")
    monkeypatch.setattr(export, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="more than one ONNX file holds"):
        export_onnx(path)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    path = save_model(tmp_path / "model", Case("", SHAPES["lstm"], dtype=torch.float32).model())
    content = (path / WEIGHTS).read_bytes()
    (path / WEIGHTS).write_bytes(content[:-8])
    with pytest.raises(UserError):
        export_onnx(path)
    assert not (path / "onnx").exists()


def test_an_ngram_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(text(40))
    for _ in unroll.ngram(tmp_path / "text.txt", order=3, out=tmp_path / "counted"):
        pass
    with pytest.raises(UserError, match="is an n-gram") as refusal:
        export_onnx(tmp_path / "counted")
    assert refusal.value.allowed and refusal.value.fix


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"needs the package {package},") as refusal:
        export_onnx(tmp_path)
    assert "unroll-lm[export]" in refusal.value.fix


# ---- the command and the page about it


def command(*arguments: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], cwd=cwd, capture_output=True, encoding="utf-8", timeout=120
    )


def test_it_needs_no_torch(tmp_path: Path) -> None:
    save_model(tmp_path / "model", Case("", SHAPES["gru"], dtype=torch.float32).model())
    program = "import sys; sys.modules['torch'] = None; import unroll; print(unroll.export_onnx('model').path)"
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (0, "model/onnx/model.onnx\n"), result.stderr


def test_the_command(tmp_path: Path) -> None:
    save_model(tmp_path / "model", Case("", SHAPES["lstm"], dtype=torch.float32).model())
    result = command("unroll", "export", "model", "--json", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert report["path"] == "model/onnx/model.onnx" and report["tokenizer"] == "model/onnx/tokenizer.json"
    assert report["about"] == "model/onnx/model.onnx.json"
    assert report["inputs"][0] == "ids" and report["outputs"][0] == "logits" and report["difference"] < 1e-5
    result = command("unroll", "export", "model", "--to", "onnx", "--out", "web/a.onnx", cwd=tmp_path)
    assert result.returncode == 0 and "web/a.onnx" in result.stdout and "layer1_c_after" in result.stdout
    result = command("unroll", "export", "model", "--to", "onnx", "--out", "model/model.json", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "") and "Traceback" not in result.stderr
    assert isinstance(unroll.export_onnx(tmp_path / "model"), Exported)


@pytest.mark.parametrize("separator", [(), ("--separator", "|")], ids=["endless", "documents"])
def test_the_program_of_the_page_writes_like_the_model(separator: tuple[str, ...], tmp_path: Path) -> None:
    """It draws the most probable symbol each time, so its text is what `unroll sample --temperature 0` writes."""
    book = "It is a|" + "a|" * 3000 if separator else text(170).replace("she ", "It ")
    (tmp_path / "book.txt").write_text(book)
    report = command(
        "unroll", "train", "book.txt", "--steps", "60", "--set", "hidden_size=32", *separator, cwd=tmp_path
    )
    assert report.returncode == 0, report.stderr
    assert command("unroll", "export", "runs/book", "--to", "onnx", cwd=tmp_path).returncode == 0
    output = printed("book", tmp_path)
    ours = "".join(
        drawn.text for drawn in unroll.sample(tmp_path / "runs" / "book", prompt="It is ", length=200, temperature=0)
    )
    assert output == "It is " + ours + "\n"
    assert (len(ours) < 200) == bool(separator)


def test_an_lstm_quantized_by_onnx_runtime_reads_ahead_within_a_call_only(tmp_path: Path) -> None:
    """What docs/export.md says of `quantize_dynamic`, and the way out that it gives."""
    quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime has no quantization here")
    torch.manual_seed(0)
    exported = export_onnx(save_model(tmp_path / "model", Model(config("lstm", 2)))).path
    quantization.quantize_dynamic(exported, tmp_path / "int8.onnx")
    session = Session((tmp_path / "int8.onnx").read_bytes())
    ids = np.random.default_rng(0).integers(0, VOCAB, (2, STEPS))
    others = np.concatenate([ids[:1], (ids[1:] + 1) % VOCAB])

    def by_symbol(row: Any) -> Any:
        state, logits = fresh_state(session, 1), []
        for symbol in row:
            step, state = session.run(np.array([[symbol]]), state)
            logits.append(step[0, 0])
        return np.array(logits)

    beside, beside_others = (session.run(rows, fresh_state(session, 2))[0][0] for rows in (ids, others))
    assert np.abs(beside - beside_others).max() > 1e-6  # the same row, other company
    half = session.run(ids[:1, : STEPS // 2], fresh_state(session, 1))[0][0]
    output = session.run(ids[:1], fresh_state(session, 1))[0][0]
    assert np.abs(half - output[: STEPS // 2]).max() > 1e-6  # the same start, another end
    assert np.array_equal(by_symbol(ids[0])[: STEPS // 2], by_symbol(ids[0, : STEPS // 2]))
