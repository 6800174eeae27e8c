"""Symbols that are new to a model when it is fine-tuned: read as unknown, or added, with everything old as it was."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor

from unroll.artifact.info import ADD_THEM, MUCH_UNKNOWN
from unroll.artifact.open import Opened
from unroll.data.blocks import read_blocks, text_of
from unroll.data.corpus import Corpus, is_prepared
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError
from unroll.nn.model import Model
from unroll.training.report import Report

NewSymbols = Literal["unknown", "add"]
"""What becomes of symbols that only the new text has: they are read as `<unk>`, or join the vocabulary."""
ROWS = {"embedding.weight", "head.weight", "head.bias", "bias"}
"""Weights with a row for each symbol."""


def check_growth(parent: Opened) -> None:
    """Raise UserError for a model whose vocabulary cannot grow."""
    level = parent.tokenizer.level
    if level in ("byte", "bpe"):
        raise UserError(
            f"new symbols are to be added at level {level}, where all texts are made of the same 256 bytes",
            allowed="models of characters or words",
            fix="leave out --new-symbols",
        )
    if parent.model.config.cutoffs:
        raise UserError(
            f"new words are to be added to {parent.path}, whose adaptive softmax sorts words by their frequency",
            allowed="models without adaptive_softmax",
            fix="train a new model on both texts, or leave out --new-symbols",
        )


def new_ids(old: Tokenizer, new: Tokenizer) -> list[int]:
    """Return the id that each old symbol has in a grown vocabulary: its own, but for `<end>`, which is always last."""
    ids = list(range(old.vocab_size))
    if old.end_id is not None and new.end_id is not None:
        ids[old.end_id] = new.end_id
    return ids


def grown_weights(model: Model, ids: Sequence[int], vocab_size: int) -> dict[str, Tensor]:
    """Return a model's weights by name, with rows for a larger vocabulary, in which its symbols have these `ids`.

    Each new row is the mean of the old ones (Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language
    Models"): old logits stay as they are, and a new symbol's is their mean. So k new symbols beside V old ones cost an
    old text at most ln(1 + k/V) nats a symbol.
    """
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    for name in ROWS & weights.keys():
        rows = weights[name]
        weights[name] = rows.mean(0, keepdim=True).repeat(vocab_size, *[1] * (rows.dim() - 1))
        weights[name][list(ids)] = rows
    return weights


def new_symbol_reports(corpus: Corpus, files: Sequence[Path], parent: Opened) -> Iterator[Report]:
    """Yield the reports on symbols that the parent of a fine-tuning does not know: those added, those left unknown."""
    tokenizer, old = corpus.tokenizer, set(new_ids(parent.tokenizer, corpus.tokenizer))
    if added := [f"'{tokenizer.symbol(id)}'" for id in range(tokenizer.vocab_size) if id not in old]:
        text = f"{len(added):,} symbols are added to the {len(old):,} of the model: {listed(added)}"
        yield Report("warn", 0, 0, 0.0, text=text)
    part = corpus.info.parts["train"]
    if part.unknown:
        text = f"{part.unknown:,} symbols of the training part, {100 * part.unknown_share:.3g} %, are unknown to the "
        text += "model and read as <unk>, never sampled"
        if not is_prepared(files[0]):
            text += f". New in the text: {listed([*map(repr, unknown_symbols(files, corpus))])}"
        text += f". {ADD_THEM}" if part.unknown_share > MUCH_UNKNOWN and not added else ""
        yield Report("warn", 0, 0, 0.0, text=text)


def listed(symbols: Sequence[str]) -> str:
    """Return the first 40 symbols, and the number of the others."""
    return ", ".join(symbols[:40]) + (f" and {len(symbols) - 40:,} more" if len(symbols) > 40 else "")


def unknown_symbols(files: Sequence[Path], corpus: Corpus) -> list[str]:
    """Return the symbols of the files that the vocabulary lacks, sorted."""
    symbols: set[str] = set()
    for block in read_blocks(files, corpus.info.config.level, separator=corpus.tokenizer.separator):
        if isinstance(block.content, str):
            symbols.update(symbol for _, symbol in corpus.tokenizer.unknown(text_of(block)))
    return sorted(symbols)
