"""The shape of an encoder, which reads rows of units from both ends, and of the classifier on it. Without torch."""

from dataclasses import dataclass, field

from unroll.errors import check_fields
from unroll.nn.arch import layer_shapes
from unroll.nn.config import check_count
from unroll.nn.layers_config import (
    LayersConfig,
    PoolingConfig,
    check_outputs,
    layers_parameters,
    layers_shapes,
    pooling_shapes,
    total,
)


@dataclass(frozen=True)
class EncoderConfig(LayersConfig):
    """The shape of recurrent layers over the units of a row, words or characters, and what is dropped in training."""

    vocab_size: int = field(kw_only=True)
    """Number of units; that of the texts, so leave it out."""
    chars: int = 0
    """Number of characters that words are read by; that of the texts, so leave it out."""
    embedding_size: int = 64
    """Size of a unit's vector."""
    char_embedding_size: int = 25
    """Size of a character's vector."""
    char_hidden_size: int = 0
    """Units of the recurrent layer over a word's characters, in each direction; 0 does without."""
    embedding_dropout: float = 0.0
    """Probability of reading a unit as an unknown one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(encoder_parameters(self))

    @property
    def least(self) -> dict[str, int]:
        """The least that sizes and numbers of layers may be."""
        sizes = {"vocab_size": 1, "chars": 0, "embedding_size": 1, "char_embedding_size": 1, "char_hidden_size": 0}
        return sizes | super().least

    @property
    def input_size(self) -> int:
        """Size I of what the first layer reads of a unit: its vector, and what its characters say of it."""
        return self.embedding_size + 2 * self.char_hidden_size


@dataclass(frozen=True)
class ClassifierConfig(EncoderConfig, PoolingConfig):
    """The shape of an encoder with a head that tells labels."""

    labels: int = 2
    """Number of labels; that of the examples, so leave it out."""
    multi_label: bool = False
    """Whether a text may have any number of labels, or else exactly one."""
    perturbation: float = 0.0
    """Length of the step in the worst direction by which the units' vectors of a text are also trained (Miyato et al.
    2017), reached after two fifths of the training; 0 trains on the text alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        right = 0 <= self.perturbation < 1e6
        check_fields(self, ("perturbation", right, "0 or more", "write for example 1, or leave it out"))
        check_outputs("labels", self.labels, 1 if self.multi_label else 2)
        check_count(classifier_parameters(self))


def encoder_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight of an encoder, as `unroll.nn.encoder.Encoder` has them."""
    named: dict[str, tuple[int, ...]] = {"embedding.weight": (config.vocab_size, config.embedding_size)}
    if size := config.char_hidden_size:
        named["characters.embedding.weight"] = (config.chars, config.char_embedding_size)
        of_layer = layer_shapes(config.arch, config.char_embedding_size, size)
        for direction in ("forwards", "backwards"):
            named |= {f"characters.{direction}.{name}": shape for name, shape in of_layer.items()}
    return named | layers_shapes(config)


def classifier_shapes(config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight of a classifier."""
    return encoder_shapes(config) | pooling_shapes(config, config.labels)


def encoder_parameters(config: EncoderConfig) -> int:
    """Return how many weights an encoder has, without making it: by arithmetic, as a file may claim any size."""
    count = config.vocab_size * config.embedding_size
    if size := config.char_hidden_size:
        characters = layer_shapes(config.arch, config.char_embedding_size, size)
        count += config.chars * config.char_embedding_size + 2 * total(characters)
    return count + layers_parameters(config)


def classifier_parameters(config: ClassifierConfig) -> int:
    """Return how many weights a classifier has, without making it."""
    return encoder_parameters(config) + total(pooling_shapes(config, config.labels))
