"""The conformance tests of the API with several versions of the official client, each in a folder of its own."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, show

TESTS = ("tests/serve/completions", "tests/serve/batching", "tests/serve/test_models.py", "tests/serve/test_server.py")
"""What asks with the client."""


def main() -> None:
    """Run the tests with every version."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", default="1.0.0,1.109.1,2.8.0", help="of openai, besides the installed one")
    told = parser.parse_args()
    rows = []
    for version in ["installed", *told.versions.split(",")]:
        with tempfile.TemporaryDirectory() as place:
            environment = dict(os.environ)
            if version != "installed":
                # Clients of that time know only an httpx of that time.
                pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", place]
                subprocess.run([*pip, f"openai=={version}", "httpx<0.28"], check=True)
                environment["PYTHONPATH"] = place
            name = subprocess.run(
                [sys.executable, "-c", "import openai; print(openai.__version__)"],
                env=environment, capture_output=True, text=True, check=True,
            ).stdout.strip()  # fmt: skip
            tests = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider"]
            done = subprocess.run([*tests, *TESTS], env=environment, cwd=Path(ROOT), capture_output=True, text=True)
            rows.append({"openai": name, "passed": done.returncode == 0, "told": done.stdout.strip()[-300:]})
    show({"benchmark": "conformance of the API by client version", "rows": rows})


if __name__ == "__main__":
    main()
