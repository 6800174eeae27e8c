"""The shape of a tagger: an encoder with a head over every unit. Without torch."""

from dataclasses import dataclass

from unroll.nn.config import check_count
from unroll.nn.encoder_config import EncoderConfig, encoder_parameters, encoder_shapes
from unroll.nn.layers_config import check_outputs


@dataclass(frozen=True)
class TaggerConfig(EncoderConfig):
    """The shape of an encoder with a head that gives each unit its tag."""

    tags: int = 2
    """Number of tags; that of the sentences, so leave it out."""
    crf: bool = False
    """Whether the tags of a sentence are one path, scored by a linear-chain CRF (Lafferty et al. 2001)."""
    context_size: int = 0
    """Size of what a language model says of a unit in its context; that of the model, so leave it out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_outputs("tags", self.tags, 1)
        check_outputs("context_size", self.context_size, 0)
        check_count(tagger_parameters(self))

    @property
    def input_size(self) -> int:
        """Size I of what the first layer reads of a unit: its vector, its characters, and what its context says."""
        return super().input_size + self.context_size


def tagger_shapes(config: TaggerConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight of a tagger, as `unroll.nn.tagger.Tagger` has them."""
    tags = config.tags
    named = encoder_shapes(config) | {"head.weight": (tags, config.output_size), "head.bias": (tags,)}
    if config.crf:
        named |= {"crf.start": (tags,), "crf.end": (tags,), "crf.transitions": (tags, tags)}
    return named


def tagger_parameters(config: TaggerConfig) -> int:
    """Return how many weights a tagger has, without making it."""
    chain = config.tags * (config.tags + 2) if config.crf else 0
    return encoder_parameters(config) + (config.output_size + 1) * config.tags + chain
