"""A translator: an encoder reads the source, and a decoder writes the target, attending to what was read."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unroll.nn.arch import ARCHITECTURES
from unroll.nn.cells import STEPS, CellWeights, state_after
from unroll.nn.dropout import drop
from unroll.nn.encoder import EMBEDDING_STD, Encoder, Units
from unroll.nn.learner import Learner
from unroll.nn.loss import smoothed_cross_entropy
from unroll.nn.pooling import inside
from unroll.nn.recurrent import Engine, RecurrentLayer, run_fused, run_stepwise
from unroll.nn.translator_config import TranslatorConfig
from unroll.state import LayerState, State, to_float


class Memory(NamedTuple):
    """What was read of a source: what the decoder attends to."""

    outputs: Tensor
    """(B, S, D·H_e), zero behind a row's end."""
    keys: Tensor
    """(B, S, K), the outputs as they are compared with the decoder's; of no size without attention."""
    mask: Tensor
    """(B, 1, S), whether a unit lies within its row."""


class Attention(nn.Module):
    """The weights of the attention of a translator; `translator_config.py` has the equations."""

    query: Tensor
    bias: Tensor
    vector: Tensor

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        self.additive = config.attention == "additive"
        size, memory = config.attention_size if self.additive else config.hidden_size, config.memory_size
        self.key = nn.Parameter(torch.empty(size, memory).uniform_(-1, 1) / memory**0.5)
        if self.additive:
            self.query = nn.Parameter(torch.empty(size, config.hidden_size).uniform_(-1, 1) / config.hidden_size**0.5)
            self.bias = nn.Parameter(torch.zeros(size))
            self.vector = nn.Parameter(torch.empty(size).uniform_(-1, 1) / size**0.5)

    def forward(self, h: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return what is attended to (B, T, D·H_e) by outputs `h` (B, T, H), and the weights (B, T, S) of the units."""
        if self.additive:
            queries = F.linear(h, self.query, self.bias).unsqueeze(2)
            scores = torch.tanh(queries + memory.keys.unsqueeze(1)) @ self.vector
        else:
            scores = h @ memory.keys.transpose(1, 2)
        weights = torch.softmax(scores.masked_fill(~memory.mask, -torch.inf), 2)
        return weights.to(memory.outputs.dtype) @ memory.outputs, weights


class Translator(Learner):
    """An encoder, recurrent layers that write, attention, and an output layer. It never stores a state.

    The decoder's state is one entry for each layer and, with input feeding, one more with the last readout, `(h~,)`.
    """

    config: TranslatorConfig

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        self.config = config
        embedding, hidden = config.embedding_size, config.hidden_size
        self.encoder = Encoder(config.encoder)  # type: ignore[abstract]  # no loss of its own is needed
        if config.source_size:
            self.embedding = nn.Embedding(config.vocab_size, embedding)
            nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        self.decoder = nn.ModuleList(
            RecurrentLayer(config.arch, hidden if k else config.input_size, hidden, config.forget_bias, "torch")
            for k in range(config.num_layers)
        )
        self.start = nn.Linear(config.memory_size, config.num_layers * hidden)
        if config.attention != "none":
            self.attention = Attention(config)
        self.combine = nn.Linear(config.readout_size, embedding)
        self.head = Head(config)

    def fresh_state(self, batch_size: int) -> State:
        """Return (): every source is read from its start, and nothing is carried on."""
        return ()

    @property
    def symbols(self) -> Tensor:
        """The vectors of the target's units (V, E)."""
        return self.embedding.weight if self.config.source_size else self.encoder.embedding.weight

    def encode(self, source: Units) -> tuple[Memory, State]:
        """Return what was read of sources (B, S), none of them empty, and the state in which the decoder begins."""
        return self.remember(*self.encoder.encode(source), source.lengths)

    def remember(self, y: Tensor, last: Tensor, lengths: Tensor) -> tuple[Memory, State]:
        """Return the same, given what the encoder gave for sources of these lengths."""
        config = self.config
        y = drop(y, config.dropout, variational=False, training=self.training).transpose(0, 1).contiguous()
        keys = y.new_zeros(0) if config.attention == "none" else F.linear(y, self.attention.key)
        starts = self.start(last).chunk(config.num_layers, dim=1)
        has_cell = "c" in ARCHITECTURES[config.arch].state
        state: State = tuple((torch.tanh(u), u) if has_cell else (torch.tanh(u),) for u in starts)
        if config.input_feeding:
            state = (*state, (y.new_zeros(len(y), config.embedding_size),))
        return Memory(y, keys, inside(lengths, y.shape[1]).T.unsqueeze(1)), to_float(state)

    def decode(
        self, ids: Tensor, memory: Memory, state: State, engine: Engine = "fused"
    ) -> tuple[Tensor, Tensor | None, State]:
        """Read symbols `ids` (B, T) from a state; return the readouts (B, T, E) after each, and the state after all.

        Between them stand the weights (B, T, S) of the source's units, None without attention. `stepwise` runs each
        layer as its equation; with input feeding the first layers of all steps cannot be run at once, and always are.
        """
        config = self.config
        if self.training and config.embedding_dropout:
            ids = ids.masked_fill(torch.rand(ids.shape, device=ids.device) < config.embedding_dropout, 0)
        x = F.embedding(ids.T, self.symbols)
        x = drop(x, config.input_dropout, variational=False, training=self.training)
        layers = [layer.weights(config.weight_drop) for layer in self.decoder if isinstance(layer, RecurrentLayer)]
        if not config.input_feeding:
            h, state = self._run(x, state, layers, engine)
            readouts, weights = self._read_out(h.transpose(0, 1), memory)
            return readouts, weights, state
        rows: list[Tensor] = []
        of_units: list[Tensor] = []
        *states, (fed,) = state
        for x_t in x:
            top = torch.cat([x_t, fed], dim=1)
            for k, w in enumerate(layers):
                states[k] = state_after(STEPS[config.arch](top, states[k], w))
                top = states[k][0]
                if k < len(layers) - 1:
                    top = drop(top, config.dropout, variational=False, training=self.training)
            readout, of_step = self._read_out(top.unsqueeze(1), memory)
            fed = readout[:, 0]
            rows.append(readout)
            assert of_step is not None
            of_units.append(of_step)
        return torch.cat(rows, dim=1), torch.cat(of_units, dim=1), (*states, (fed,))

    def _run(self, x: Tensor, state: State, layers: list[CellWeights], engine: Engine) -> tuple[Tensor, State]:
        """Return the outputs (T, B, H) of the top layer over `x` (T, B, E), and the state after it."""
        config, after = self.config, list[LayerState]()
        for k, w in enumerate(layers):
            x = drop(x, config.dropout if k else 0.0, variational=False, training=self.training)
            if engine == "fused":
                x, layer_state = run_fused(config.arch, x, state[k], w, training=self.training)
            else:
                x, layer_state, _ = run_stepwise(config.arch, x, state[k], w)
            after.append(layer_state)
        return x, to_float(tuple(after))

    def _read_out(self, h: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        """Return the readouts (B, T, E) of outputs `h` (B, T, H), and the weights (B, T, S)."""
        weights = None
        if self.config.attention != "none":
            context, weights = self.attention(h, memory)
            h = torch.cat([context, h], dim=2)
        return torch.tanh(self.combine(h)), weights

    def logits(self, readouts: Tensor) -> Tensor:
        """Return the logits (…, V) of readouts (…, E)."""
        rows = self.symbols if self.config.tie_weights else self.head.weight
        return F.linear(readouts, rows, self.head.bias)

    def forward(self, source: Units, ids: Tensor, engine: Engine = "fused") -> Tensor:
        """Return the logits (B, T, V) after each of the symbols `ids` (B, T), the first of them the start symbol."""
        memory, state = self.encode(source)
        return self.logits(self.decode(ids, memory, state, engine)[0])

    def loss(
        self,
        ids: Tensor,
        lengths: Tensor,
        inputs: Tensor,
        targets: Tensor,
        target_lengths: Tensor,
        smoothing: Tensor | None = None,
        state: State = (),
    ) -> tuple[Tensor, State]:
        """Return the mean cross-entropy, in nats, of the symbols of targets (B, T) after `inputs` (B, T).

        Sources `ids` (B, S) of `lengths` (B,). Of each target, `smoothing`, a scalar, is spread over all symbols.
        """
        memory, begin = self.encode(Units(ids, lengths))
        readouts, _, _ = self.decode(inputs, memory, begin)
        real = inside(target_lengths, targets.shape[1]).T
        readouts = drop(readouts[real], self.config.dropout, variational=False, training=self.training)
        share = 0.0 if smoothing is None else float(smoothing)
        return smoothed_cross_entropy(self.logits(readouts), targets[real], share), state


class Head(nn.Module):
    """The output layer: a bias for each symbol and, where the symbols' vectors do not serve, rows of its own."""

    weight: Tensor

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        if not config.tie_weights:
            self.weight = nn.Parameter(torch.empty(config.vocab_size, config.embedding_size).normal_(std=EMBEDDING_STD))
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
