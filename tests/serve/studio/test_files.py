"""Texts of a folder that may be trained on."""

from pathlib import Path

from unroll.serve.studio.files import listed_files


def test_only_texts_of_the_folder_are_listed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    folder = tmp_path / "texts"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.txt", ".hidden.txt", "b.bin", "c.md", "sub/d.txt"):
        (folder / name).write_text("text")
    (folder / "link.txt").symlink_to(outside)
    assert [name for name, _, _ in listed_files(folder)] == ["a.txt", "c.md"]
    assert list(listed_files(None)) == []
