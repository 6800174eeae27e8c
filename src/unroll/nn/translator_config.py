"""The shape of a translator, which reads a row to its end and then writes another, and its equations. Without torch.

The encoder (`encoder_config.py`, in both directions) reads the units of a source: y_j, D·H_e wide, is what it gives at
unit j, and l = [h→_S; h←_1] its last output in each direction. The decoder has L recurrent layers, each H wide, of a
cell of `cells.py`. E is the size of a symbol's vector, and e_s that of symbol s; s_0 is the start symbol, which also
ends a target.

    start       [u_1; …; u_L] = W_s l + b_s      (start)    layer k begins with h = tanh(u_k) and an LSTM's c = u_k
    step t      x_t = e_{s_t-1}; with input feeding [e_{s_t-1}; h~_t-1], where h~_0 = 0 (Luong et al. 2015, 3.3)
                h_t is the top layer's output; each layer above the first reads the output of the one below
    attention   a_t = softmax_j(score(h_t, y_j)) over the units of the source, c_t = Σ_j a_tj y_j
      dot       score = h_t · (W_a y_j)          (attention.key; "general" in Luong et al. 2015, 3.1)
      additive  score = v · tanh(W_q h_t + W_a y_j + b)     (attention.query, .key, .bias, .vector; Bahdanau 2015)
    readout     h~_t = tanh(W_c [c_t; h_t] + b_c), E wide   (combine; without attention W_c h_t alone)
    logits      W_o h~_t + b_o                   (head; with tied weights row s of W_o is e_s)
"""

from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

from unroll.errors import UserError, check_choice
from unroll.nn.arch import Cell, layer_shapes
from unroll.nn.config import MAX_PARAMETERS, check_count
from unroll.nn.encoder_config import EncoderConfig, encoder_parameters, encoder_shapes

AttentionKind = Literal["additive", "dot", "none"]


@dataclass(frozen=True)
class TranslatorConfig:
    """The shape of an encoder, a decoder and the attention between them, and what is dropped in training."""

    vocab_size: int
    """Number of units of the targets; that of the texts, so leave it out."""
    source_size: int = 0
    """Number of units of the sources; 0 where both share their units, and the units' vectors."""
    arch: Cell = "lstm"
    """The architecture of all recurrent layers."""
    embedding_size: int = 256
    """Size E of a unit's vector, and of the vector that the output layer reads."""
    encoder_size: int = 256
    """Number of units of each recurrent layer of the encoder, in each of its two directions."""
    hidden_size: int = 512
    """Number of units of each recurrent layer of the decoder."""
    num_layers: int = 1
    """Number of recurrent layers of the encoder, and of the decoder."""
    attention: AttentionKind = "dot"
    """How units of the source are weighed at each step: by a product with the decoder's output (`dot`, Luong et al.
    2015, "general"), by a small network (`additive`, Bahdanau et al. 2015), or not at all."""
    attention_size: int = 128
    """Number of units of the network that weighs in `additive`."""
    input_feeding: bool = False
    """Whether a step also reads what the output layer read at the step before (Luong et al. 2015, section 3.3)."""
    tie_weights: bool = True
    """Whether the output layer uses the units' vectors."""
    forget_bias: float = 1.0
    """Start of the forget gate's bias: of an LSTM f, of a minGRU 1 - z."""
    embedding_dropout: float = 0.0
    """Probability of reading a unit as an unknown one."""
    input_dropout: float = 0.0
    """Probability of dropping an element of a unit's vector."""
    dropout: float = 0.0
    """Probability of dropping an output of a recurrent layer, of the encoder or of what the output layer reads."""
    weight_drop: float = 0.0
    """Probability of dropping a recurrent weight (Merity et al. 2018)."""

    def __post_init__(self) -> None:
        for name in ("source_size", "encoder_size", "hidden_size", "attention_size"):
            least = int(name != "source_size")
            if not least <= getattr(self, name) <= MAX_PARAMETERS:
                raise UserError(
                    f"{name} is {getattr(self, name)}",
                    allowed=f"{least} to {MAX_PARAMETERS:,}",
                    fix="choose a number from that range, or leave it out",
                )
        _ = self.encoder  # checks what both parts share
        check_choice("attention", self.attention, get_args(AttentionKind))
        if self.input_feeding and self.attention == "none":
            raise UserError(
                "input_feeding without attention", allowed="both, or neither", fix="leave one of them out"
            )  # fmt: skip
        check_count(translator_parameters(self))

    @property
    def encoder(self) -> EncoderConfig:
        """The shape of the encoder."""
        return EncoderConfig(
            vocab_size=self.source_size or self.vocab_size,
            arch=self.arch,
            embedding_size=self.embedding_size,
            hidden_size=self.encoder_size,
            num_layers=self.num_layers,
            forget_bias=self.forget_bias,
            embedding_dropout=self.embedding_dropout,
            input_dropout=self.input_dropout,
            dropout=self.dropout,
            weight_drop=self.weight_drop,
        )

    @property
    def memory_size(self) -> int:
        """Size D·H_e of what the encoder gives at each unit."""
        return 2 * self.encoder_size

    @property
    def input_size(self) -> int:
        """Size of what the decoder's first layer reads: a unit's vector and, with input feeding, the last readout."""
        return (1 + self.input_feeding) * self.embedding_size

    @property
    def readout_size(self) -> int:
        """Size of what the readout is made of: what was attended to and the top layer's output."""
        return (self.memory_size if self.attention != "none" else 0) + self.hidden_size


def _outside_layers(config: TranslatorConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight but those of the encoder and of the decoder's layers."""
    embedding, hidden, memory = config.embedding_size, config.hidden_size, config.memory_size
    named: dict[str, tuple[int, ...]] = {}
    if config.source_size:
        named["embedding.weight"] = (config.vocab_size, embedding)
    named |= {"start.weight": (config.num_layers * hidden, memory), "start.bias": (config.num_layers * hidden,)}
    if config.attention == "dot":
        named["attention.key"] = (hidden, memory)
    if config.attention == "additive":
        size = config.attention_size
        named |= {"attention.query": (size, hidden), "attention.key": (size, memory)}
        named |= {"attention.bias": (size,), "attention.vector": (size,)}
    named |= {"combine.weight": (embedding, config.readout_size), "combine.bias": (embedding,)}
    if not config.tie_weights:
        named["head.weight"] = (config.vocab_size, embedding)
    return named | {"head.bias": (config.vocab_size,)}


def translator_shapes(config: TranslatorConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight of a translator, as `unroll.nn.translator.Translator` has them.

    The encoder's begin with `encoder.`, those of the decoder's layer k with `decoder.k.`. Where both languages share
    their units, there is no `embedding.weight`, and `encoder.embedding.weight` has its place.
    """
    named = {f"encoder.{name}": shape for name, shape in encoder_shapes(config.encoder).items()}
    for k in range(config.num_layers):
        of_layer = layer_shapes(config.arch, config.hidden_size if k else config.input_size, config.hidden_size)
        named |= {f"decoder.{k}.{name}": shape for name, shape in of_layer.items()}
    return named | _outside_layers(config)


def translator_parameters(config: TranslatorConfig) -> int:
    """Return how many weights a translator has, without making it: by arithmetic, as a file may claim any size."""

    def of_layer(inputs: int) -> int:
        return sum(map(prod, layer_shapes(config.arch, inputs, config.hidden_size).values()))

    layers = of_layer(config.input_size) + (config.num_layers - 1) * of_layer(config.hidden_size)
    return encoder_parameters(config.encoder) + layers + sum(map(prod, _outside_layers(config).values()))
