"""Texts that the page may train on: files of a folder, and uploads."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

TEXT_ENDINGS = (
    ".txt", ".text", ".md", ".rst", ".log", ".tex", ".bib", ".html", ".xml", ".json", ".jsonl", ".csv", ".tsv",
    ".yaml", ".toml", ".py", ".c", ".h", ".cpp", ".rs", ".go", ".java", ".js", ".ts", ".abc", ".smi",
)  # fmt: skip
MOST_FILES = 200


def listed_files(folder: Path | None) -> Iterator[tuple[str, Path, int]]:
    """Yield the texts directly in a folder as name, path and bytes; no hidden files, no links."""
    if folder is None:
        return
    with os.scandir(folder) as entries:
        texts = sorted(
            (
                entry
                for entry in entries
                if not entry.name.startswith(".") and entry.name.lower().endswith(TEXT_ENDINGS)
            ),
            key=lambda entry: entry.name,
        )
    for entry in texts[:MOST_FILES]:
        if entry.is_file(follow_symlinks=False):
            yield entry.name, Path(entry.path), entry.stat(follow_symlinks=False).st_size


def file_stem(title: str) -> str:
    """Return the name of a text, its ending removed, as a safe name of a file: letters, digits and dashes."""
    stem = title.rsplit(".", 1)[0] if "." in title[1:] else title
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:40] or "text"
