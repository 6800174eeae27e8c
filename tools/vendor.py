"""Fetches what the studio page takes from npm: files, hashes and licences, into src/unroll/serve/page/vendor.

Run by hand when a version changes: `python tools/vendor.py`. npm checks each package against the registry's hash.
"""

import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "src/unroll/serve/page/vendor"
FILES = {
    ("uplot", "1.6.32", "MIT"): {
        "dist/uPlot.iife.min.js": "uPlot.iife.min.js",
        "dist/uPlot.min.css": "uPlot.min.css",
        "LICENSE": "uPlot.LICENSE",
    },
    ("htm", "3.1.1", "Apache-2.0, and MIT for the preact inside"): {
        "preact/standalone.module.js": "preact.js",
        "LICENSE": "htm.LICENSE",
    },
    ("preact", "10.5.12", "MIT"): {"LICENSE": "preact.LICENSE"},
}


def fetch(name: str, version: str, folder: Path) -> tarfile.TarFile:
    """Return the published package as an opened archive."""
    said = subprocess.run(
        ["npm", "pack", f"{name}@{version}", "--json"], cwd=folder, capture_output=True, text=True, check=True
    )
    return tarfile.open(folder / json.loads(said.stdout)[0]["filename"])


def main() -> None:
    """Write the files and VENDOR.json."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    entries = []
    for (name, version, licence), files in FILES.items():
        with tempfile.TemporaryDirectory() as folder, fetch(name, version, Path(folder)) as package:
            for inside, outside in files.items():
                opened = package.extractfile(f"package/{inside}")
                assert opened is not None
                data = opened.read()
                (FOLDER / outside).write_bytes(data)
                entry = {"file": outside, "package": name, "version": version, "path": inside, "licence": licence}
                entries.append(entry | {"sha256": hashlib.sha256(data).hexdigest()})
    (FOLDER / "VENDOR.json").write_text(json.dumps(entries, indent=2) + "\n")


if __name__ == "__main__":
    main()
