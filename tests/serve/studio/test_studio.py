"""A studio that is stopped pauses its trainings; it offers the texts of its folder, and nothing else."""

from pathlib import Path

import httpx

from cli.command import text
from page.conftest import start_studio, stop_studio
from serve.studio.asking import trainers, until
from unroll.artifact.open import open_model
from unroll.serve.studio.studio import listed_files


def test_stopping_the_studio_pauses_what_it_trains(runs: Path, tmp_path: Path) -> None:
    running = start_studio(runs / "book", runs=tmp_path / "runs", texts=tmp_path)
    try:
        headers = {"Authorization": f"Bearer {running.token}"}
        with httpx.Client(base_url=running.url, headers=headers, timeout=30) as client:
            id = client.post("/api/uploads", json={"name": "t", "text": text(9000)}).json()["id"]
            plan = {"source": "upload", "upload": id, "steps": 1_000_000, "hidden_size": 16, "name": "long"}
            assert client.post("/api/train", json=plan).status_code == 200
            until(lambda: client.get("/api/runs/long").json()["step"] > 0)
    finally:
        stop_studio(running)
    until(lambda: not trainers(tmp_path))
    assert open_model(tmp_path / "runs" / "long").description["result"] is None


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
