"""Where a new model is written when no folder is named."""

from pathlib import Path

from unroll.files import Files, as_paths

PACKED = (".gz",)
TEXTS = (
    ".txt", ".text", ".md", ".rst", ".log", ".tex", ".bib", ".html", ".xml", ".json", ".jsonl", ".csv", ".tsv",
    ".yaml", ".toml", ".tokens", ".py", ".c", ".h", ".cpp", ".rs", ".go", ".java", ".js", ".ts", ".sh", ".abc", ".smi",
)  # fmt: skip
"""Endings that are no part of a text's name; others are, so that book.v1.txt and book.v2.txt have a folder each."""


def output_folder(files: Files | None) -> Path:
    """Return runs/ and the name of the first text, or of the default text where there is none."""
    paths = as_paths(files)
    if not paths:
        return Path("runs") / "python-stdlib"
    name = Path(paths[0].resolve().name.lstrip("."))
    for endings in PACKED, TEXTS:
        name = name.with_suffix("") if name.suffix.lower() in endings else name
    return Path("runs") / (name.name or "text")
