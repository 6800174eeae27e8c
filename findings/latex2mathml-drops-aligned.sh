#!/usr/bin/env bash
# latex2mathml: the environment aligned is dropped without an error, and its ampersands are written into the equation.
#
# Expected: \begin{aligned} … \end{aligned} gives a table of rows and columns, as \begin{align*} and \begin{matrix} do,
#   or an error such as those for commands that the package does not know.
# Seen: the rows become one line, in which each & stands as an identifier; no error, no warning.
# Versions: latex2mathml 3.81.1, Python 3.11. Seen on 2026-11-30.
# Who meets it: whoever turns the equations of a cell (gate by gate, aligned at =) into MathML, for pages that need
#   neither a script nor a network. MathJax, which shows the same notebook in Jupyter, aligns them.
# Instead: write align* to the converter in place of aligned.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq latex2mathml==3.81.1

cat > "$folder/try.py" <<'PYTHON'
import re
from importlib.metadata import version

from latex2mathml.converter import convert

CELL = r"c_t &= f_t c_{t-1} + i_t g_t \\ h_t &= o_t \tanh c_t"


def describe(environment):
    mathml = convert(rf"\begin{{{environment}}}{CELL}\end{{{environment}}}")
    rows, ampersands = mathml.count("<mtr"), len(re.findall(r"<m[io]>&(?:#x00026;|amp;)?</m[io]>", mathml))
    print(f"{environment}: {rows} rows, {ampersands} ampersands in the equation")
    return rows, ampersands


print("latex2mathml", version("latex2mathml"))
assert describe("align*") == (2, 0)
assert describe("matrix") == (2, 0)
assert describe("aligned") == (0, 2), "aligned is no longer dropped"
PYTHON

"$folder/venv/bin/python" "$folder/try.py"
echo "as recorded"
