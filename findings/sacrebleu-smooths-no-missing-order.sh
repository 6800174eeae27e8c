#!/usr/bin/env bash
# sacrebleu: the BLEU of a corpus of short segments is exactly 0 however good they are, with the default smoothing.
#
# Expected: the default smoothing (exp) keeps a BLEU above 0 where an order of n-grams has no match; a corpus that is
#   translated perfectly has 100.
# Seen: smoothing works on matches, not on orders that do not occur: where no segment has four tokens there is no
#   4-gram to count, and the corpus score is 0.0 with exp, floor and none, also of perfect translations; add-k, which
#   adds to the orders without n-grams, too, gives 100. Sentence scores (effective_order) and chrF are 100.
# Versions: sacrebleu 2.6.0, Python 3.11, Linux. Seen on 2026-11-30.
# Who meets it: whoever breaks a score down by length, or translates names, numbers, dates or commands.
# Instead: chrF for short segments, or BLEU(effective_order=True), which sacrebleu says is for single sentences.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq sacrebleu==2.6.0

cat > "$folder/try.py" <<'PYTHON'
from importlib.metadata import version

from sacrebleu.metrics import BLEU, CHRF

print("sacrebleu", version("sacrebleu"))
texts = ["ein roter ball", "zwei hunde", "drei blaue katzen"]
for method in ("exp", "floor", "add-k", "none"):
    metric = BLEU(smooth_method=method)
    corpus = metric.corpus_score(texts, [texts]).score
    print(f"perfect translations of three words, {method}: corpus BLEU {corpus}")
    assert corpus > 99.9 if method == "add-k" else corpus == 0.0, "orders without n-grams are treated otherwise now"
single = [BLEU(effective_order=True).sentence_score(text, [text]).score for text in texts]
chrf = CHRF().corpus_score(texts, [texts]).score
longer = BLEU().corpus_score([*texts, "ein mann geht durch den park"], [[*texts, "ein mann geht durch den park"]]).score
print(f"single sentences {[round(score) for score in single]}, chrF {chrf:.0f}; with one of six words beside them: corpus BLEU {longer:.0f}")
assert min(single) > 99.9 and chrf > 99.9 and longer > 99.9
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
echo "as recorded"
