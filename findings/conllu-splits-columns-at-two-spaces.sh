#!/usr/bin/env bash
# conllu: a form with two spaces in it moves all columns behind it, and ranges and empty nodes are among the tokens.
#
# Expected: columns are separated by tabs, as CoNLL-U says, which allows spaces in FORM and LEMMA; and what one gets by
#   iterating a sentence are its words, so that counting the tags of a file counts each word once.
# Seen: `conllu.parse` also splits at two or more spaces. The second half of such a form becomes the lemma, the lemma
#   the UPOS, without a warning. A sentence yields a row for the range 1-2 of a contraction and one for the empty node
#   3.1, beside their words: with UPOS "_" and, of the node, with a tag of its own; both are tokens to `len`.
# Versions: conllu 6.0.0, Python 3.11, Linux. Seen on 2026-11-30.
# Who meets it: whoever trains or scores a tagger on Universal Dependencies with this package: "don't" is three rows,
#   the accuracy counts a tag "_", and numbers written with spaces have the wrong tags.
# Instead: keep the rows whose id is an int, and split columns at tabs alone.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq conllu==6.0.0

cat > "$folder/try.py" <<'PYTHON'
from importlib.metadata import version

import conllu

print("conllu", version("conllu"))


def line(id, form, lemma, upos):
    return "\t".join([id, form, lemma, upos, *"_" * 6])


price = "\n".join([line("1", "20  000", "20000", "NUM"), line("2", "euros", "euro", "NOUN")]) + "\n\n"
(sentence,) = conllu.parse(price)
print("form of two spaces:", {name: sentence[0][name] for name in ("form", "lemma", "upos")})
assert sentence[0]["form"] == "20" and sentence[0]["lemma"] == "000" and sentence[0]["upos"] == "20000"
assert sentence[1]["upos"] == "NOUN", "a line without two spaces is read otherwise"

rows = [line("1-2", "don't", "_", "_"), line("1", "do", "do", "AUX"), line("2", "n't", "not", "PART"),
        line("3", "go", "go", "VERB"), line("3.1", "home", "home", "ADV")]
(sentence,) = conllu.parse("\n".join(rows) + "\n\n")
print("three words give", len(sentence), "rows:", [(token["id"], token["upos"]) for token in sentence])
assert [token["id"] for token in sentence] == [(1, "-", 2), 1, 2, 3, (3, ".", 1)]
assert [token["upos"] for token in sentence] == ["_", "AUX", "PART", "VERB", "ADV"]
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
echo "as recorded"
