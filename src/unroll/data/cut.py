"""A prepared corpus with fewer words: those that are too rare are read as <unk>."""

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.data.corpus import Corpus, digest_of, load_corpus, mapped_ids, new_folder
from unroll.data.documents import DocumentTokenizer, base_of
from unroll.data.encode import Part
from unroll.data.tokenizer import Tokenizer, WordTokenizer
from unroll.data.words import UnicodeWordTokenizer
from unroll.files import read_json
from unroll.progress import Progress, Work
from unroll.settings import from_mapping


def cut_vocabulary(folder: Path, min_count: int) -> Work[None]:
    """Read words of a prepared corpus that occur less often in its training part as <unk>, as if prepared so.

    The folder is replaced by the new one when that is complete.
    """
    about, corpus = read_json(folder / "corpus.json", "a corpus of unroll"), load_corpus(folder)
    tokenizer = corpus.tokenizer
    words = base_of(tokenizer)
    assert isinstance(words, WordTokenizer | UnicodeWordTokenizer)
    size = kept(word_counts(corpus), min_count)
    shorter: Tokenizer = replace(words, words=words.words[: size - len(words.specials)])
    new_ids = np.full(tokenizer.vocab_size, words.unknown_id)
    new_ids[:size] = np.arange(size)
    if isinstance(tokenizer, DocumentTokenizer):
        shorter = replace(tokenizer, base=shorter)
        new_ids[tokenizer.end_id] = shorter.end_id
    with new_folder(folder) as beside:
        for number, name in enumerate(about["parts"]):
            yield Progress("cutting", number, len(about["parts"]), "parts")
            ids = mapped_ids(folder / f"{name}.bin", about["parts"][name]["tokens"], tokenizer)
            ids = new_ids.astype(shorter.dtype)[ids]
            ids.tofile(beside / f"{name}.bin")
            about["parts"][name] |= {"unknown": shorter.count_unknown(ids), "sha256": sha256(ids.data).hexdigest()}
        shorter.save(beside / "tokenizer.json")
        parts = {name: from_mapping(Part, part, str(folder)) for name, part in about["parts"].items()}
        about["config"]["min_count"] = min_count
        about |= {"digest": digest_of(parts), "tokenizer_digest": shorter.digest, "dtype": shorter.dtype.name}
        (beside / "corpus.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        shutil.rmtree(folder)


def word_counts(corpus: Corpus) -> NDArray[np.int64]:
    """Return how often each id (V,) but `<end>` occurs in the training part."""
    size = base_of(corpus.tokenizer).vocab_size
    return np.bincount(corpus.train, minlength=size)[:size]


def kept(counts: NDArray[np.int64], min_count: int) -> int:
    """Return the number of ids that remain with a `min_count`: the special ones, and words at least so frequent."""
    return 2 + int(np.count_nonzero(counts[2:] >= min_count))
