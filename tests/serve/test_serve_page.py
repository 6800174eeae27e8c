"""The page about serving is true: its programs run, what it names is there."""

import contextlib
import io
import re
from pathlib import Path

from serve.live import CHARS, make_model, serving
from unroll.cli.serve import verb
from unroll.data.tokenizer import CharTokenizer
from unroll.serve.completions.routes import OF_A_MODEL, ROUTES
from unroll.serve.completions.tables import COMPLETION, LENGTHS
from unroll.serve.guard import ASKED_HEADERS, ASKED_PREFIX
from unroll.serve.settings import Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serve.md").read_text()


def test_its_programs_run(tmp_path: Path) -> None:
    letters = set("".join(re.findall(r'"([^"]*)"', PAGE))) | set(CHARS.symbols)
    programs = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    assert len(programs) == 5
    with serving(make_model(tmp_path / "book", CharTokenizer.learn(letters))) as live, io.StringIO() as out:
        space: dict[str, object] = {}
        with contextlib.redirect_stdout(out):
            for program in programs:
                exec(program.replace("http://127.0.0.1:8000", live.url), space)
        output = out.getvalue()
        space["client"].close()  # type: ignore[attr-defined]
    assert "'I' None" in output and "['book']" in output and " in April" in output and output.endswith("2 10\n")


def test_its_fields_paths_and_options_are_there() -> None:
    fields = set(re.findall(r"`(\w+)`", PAGE.split("Fields: ")[1].split("What is not understood")[0]))
    assert fields - {"extra_body"} == set(COMPLETION) - {"model", "suffix", "user", "stream_options"}
    paths = set(re.findall(r"/[a-z0-9_/.]*[a-z]", PAGE.split("| path |")[1].split("\n\n")[0])) | {"/health"}
    assert f"`{OF_A_MODEL.replace('{model}', 'NAME')}/` before any of these" in PAGE
    for path in {path.removeprefix(OF_A_MODEL) for path in ROUTES}:
        assert path.replace("/{name}", "") in paths or path == "/v1/chat/completions", path
    options = {option for parameter in verb.params for option in parameter.opts}
    names = set(re.findall(r"`(--[\w-]+)", PAGE)) | set(re.findall(r"(?<=unroll serve).*?(--[\w-]+)", PAGE))
    assert names <= options | {"--seed", "--temperature"}  # of `unroll sample`


def test_its_limits_headers_and_lengths_are_those_of_the_server() -> None:
    settings = Settings()
    limits = PAGE.split("Limits: ")[1].split("\n\n")[0]
    for value in (
        f"{settings.max_prompts} prompts of {settings.max_prompt_tokens:,}", f"{settings.max_choices} texts",
        f"{settings.max_inputs:,} vectors",
        f"{settings.max_probabilities:,} probabilities", f"({settings.max_tokens:,})",
    ):  # fmt: skip
        assert value in limits
    headers = PAGE.split("the standard's clients send:")[1].split(". The npm")[0]
    names = {name.lower().encode() for name in re.findall(r"`([\w-]+)\*?`", headers)}
    assert names == {*ASKED_HEADERS, ASKED_PREFIX}
    lengths = PAGE.split("Without `max_tokens`")[1].split("by the level")[0]
    assert re.findall(r"\d+", lengths) == [str(LENGTHS[level]) for level in ("char", "bpe", "word")]
    assert LENGTHS["byte"] == LENGTHS["char"]


def test_every_claim_about_a_seed_names_the_temperature() -> None:
    """`unroll sample` has 0.8 where a request has 1, so that the same text by seed needs one of them to be named."""
    for paragraph in re.split(r"\n(?:\n|- )", PAGE):
        if "unroll sample" in paragraph:
            assert "temperature" in paragraph, paragraph
