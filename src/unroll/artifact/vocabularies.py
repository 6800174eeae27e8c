"""The vocabularies of an encoder in a model directory: its units, and the characters by which words are read."""

from pathlib import Path

from unroll.data.reader import Reader
from unroll.data.tokenizer import CharTokenizer, load_tokenizer
from unroll.errors import UserError
from unroll.files import Folder, write_into
from unroll.nn.encoder_config import EncoderConfig

CHARACTERS = "characters.json"


def save_reader(folder: Path | Folder, reader: Reader) -> None:
    """Write the vocabularies."""
    write_into(folder, "tokenizer.json", reader.tokenizer.to_json().encode())
    if reader.characters is not None:
        write_into(folder, CHARACTERS, reader.characters.to_json().encode())


def digests_of(reader: Reader) -> tuple[str, str | None]:
    """Return the digests of the vocabularies; None where words are not read by their characters."""
    return reader.tokenizer.digest, None if reader.characters is None else reader.characters.digest


def read_vocabularies(path: Path, config: EncoderConfig, digests: tuple[str, str | None]) -> Reader:
    """Read the vocabularies of a model; raises UserError where they are not those of these digests."""
    characters = load_tokenizer(path / CHARACTERS) if config.char_hidden_size else None
    assert characters is None or isinstance(characters, CharTokenizer)
    reader = Reader(load_tokenizer(path / "tokenizer.json"), characters)
    sizes = (reader.tokenizer.vocab_size, 0 if characters is None else characters.vocab_size)
    if digests_of(reader) != digests or sizes != (config.vocab_size, config.chars):
        raise UserError(
            f"the vocabularies in {path} are not those that this model was trained with",
            allowed=f"{config.vocab_size:,} units and {config.chars:,} characters",
            fix="restore the directory from one source",
        )
    return reader
