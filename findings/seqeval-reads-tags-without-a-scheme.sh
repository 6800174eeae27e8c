#!/usr/bin/env bash
# seqeval: tags that belong to no scheme of entities are read as if they did, without an error.
#
# Expected: `f1_score` of parts of speech, which have no B- and I-, is refused, or is the share of tokens that are right.
# Seen: the first letter is taken for the prefix and the rest for the type: NOUN is "N" of "OUN". Neighbours with the
#   same tag melt into one chunk, and a wrong tag in it costs the whole chunk: with 12 of 16 tokens right the F1 is 0.46.
#   In the default mode entities that begin with I- count as whole ones: all I- against B- I- has an F1 of 1.0, and
#   0.0 with mode="strict" and scheme IOB2. Only a warning says that NOUN "seems not to be" a tag.
# Versions: seqeval 1.2.2, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11, Linux. Seen on 2026-11-30.
# Who meets it: whoever measures a tagger by the metric that examples of token classification use for everything.
# Instead: accuracy for tags of tokens; for entities mode="strict" and the scheme.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq setuptools==80.9.0 wheel==0.45.1 numpy==2.4.6 scikit-learn==1.9.1
"$folder/venv/bin/pip" install -qq --no-build-isolation seqeval==1.2.2

cat > "$folder/try.py" <<'PYTHON'
import warnings
from importlib.metadata import version

from seqeval.metrics import accuracy_score, f1_score
from seqeval.scheme import IOB2

print("seqeval", version("seqeval"))
true = [["DET", "NOUN", "NOUN", "NOUN"], ["NOUN", "NOUN", "VERB", "ADV"], ["DET", "ADJ", "NOUN", "VERB"], ["VERB", "VERB", "DET", "NOUN"]]
found = [["DET", "NOUN", "VERB", "NOUN"], ["NOUN", "VERB", "VERB", "ADV"], ["DET", "NOUN", "NOUN", "VERB"], ["VERB", "NOUN", "DET", "NOUN"]]
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    f1, accuracy = f1_score(true, found), accuracy_score(true, found)
print(f"parts of speech: accuracy {accuracy:.2f}, F1 {f1:.2f}; {sorted({str(one.message) for one in said})[0]!r}")
assert accuracy == 0.75 and round(f1, 2) == 0.46, "tags are grouped otherwise now"

entity, without = [["B-PER", "I-PER", "O"]], [["I-PER", "I-PER", "O"]]
default, strict = f1_score(entity, without), f1_score(entity, without, mode="strict", scheme=IOB2)
print(f"I- against B-: F1 {default} by default, {strict} when strict")
assert (default, strict) == (1.0, 0.0)
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
echo "as recorded"
