"""The page about serving is true: its programs run, what it names is there."""

import contextlib
import io
import re
from pathlib import Path

from serve.live import CHARS, make_model, serving
from unroll.cli.serve import verb
from unroll.data.tokenizer import CharTokenizer
from unroll.serve.api import ROUTES
from unroll.serve.fields import COMPLETION

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serve.md").read_text()


def test_its_programs_run(tmp_path: Path) -> None:
    letters = set("".join(re.findall(r'"([^"]*)"', PAGE))) | set(CHARS.symbols)
    programs = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    assert len(programs) == 4
    with serving(make_model(tmp_path / "book", CharTokenizer.learn(letters))) as live, io.StringIO() as out:
        space: dict[str, object] = {}
        with contextlib.redirect_stdout(out):
            for program in programs:
                exec(program.replace("http://127.0.0.1:8000", live.url), space)
        told = out.getvalue()
        space["client"].close()  # type: ignore[attr-defined]
    assert "'I' None" in told and " in April" in told and told.endswith("2 10\n")


def test_its_fields_paths_and_options_are_there() -> None:
    fields = set(re.findall(r"`(\w+)`", PAGE.split("Fields: ")[1].split("What is not understood")[0]))
    assert fields - {"extra_body"} == set(COMPLETION) - {"model", "suffix", "user", "stream_options"}
    paths = set(re.findall(r"/[a-z0-9_/.]*[a-z]", PAGE.split("| path |")[1].split("\n\n")[0])) | {"/health"}
    for path in ROUTES:
        assert path.replace("/{name}", "") in paths or path == "/v1/chat/completions", path
    options = {option for parameter in verb.params for option in parameter.opts}
    named = set(re.findall(r"`(--[\w-]+)", PAGE)) | set(re.findall(r"(?<=unroll serve).*?(--[\w-]+)", PAGE))
    assert named <= options | {"--seed"}
