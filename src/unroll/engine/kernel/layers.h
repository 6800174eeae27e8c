// A network's layers: laid out from torch's weights, and computed by tiles of rows and panels.
#pragma once
#include "cells.h"
#include "engine.h"

namespace {

struct Layer {
    Packed input, state;
    float* start = nullptr;  // (panels, 4, LANES): the biases, where the accumulators start
};

struct Net {
    Shape shape;
    int64_t wide;      // H, rounded up to whole panels
    int64_t panels;    // of a recurrent layer, or of a window's
    float* table = nullptr;      // (V, panels, 4, LANES)
    float* embedding = nullptr;  // (V, E)
    Layer* layers = nullptr;     // recurrent, or a window's
    Layer* after = nullptr;
    Layer projection, output;
    Bytes bytes;
};

int gates_of(int64_t arch) {
    return arch == WINDOW ? 0 : with_cell(arch, [](auto cell) { return decltype(cell)::gates; });
}
bool reads_state(int64_t arch) {
    return arch != WINDOW && with_cell(arch, [](auto cell) { return decltype(cell)::State::width > 0; });
}

// Weights that a step reads.
int64_t weights_of(const Shape& s) {
    const int64_t gates = gates_of(s.arch) ? gates_of(s.arch) : 1;
    const int64_t first = s.arch == WINDOW ? s.window * s.embedding : s.table ? 0 : s.embedding;
    const int64_t recurrent = reads_state(s.arch) ? s.layers * s.hidden : 0;
    return gates * s.hidden * (first + (s.layers - 1) * s.hidden + recurrent) + s.after * s.hidden * s.hidden +
           (s.head != s.hidden ? s.head * s.hidden : 0) + s.vocab * s.head;
}

void drop(Layer& layer) { drop(layer.input); drop(layer.state); free(layer.start); }

// The biases `first` and `second` (or null) laid out as a panel's accumulators, which start there.
bool pack_start(float*& out, const float* first, const float* second, Layout layout, bool gru) {
    const int64_t panels = layout.panels();
    if (!(out = (float*)allocate(panels * 4 * LANES * 4))) return false;
    for (int64_t p = 0; p < panels; ++p)
        for (int j = 0; j < 4; ++j)
            for (int lane = 0; lane < LANES; ++lane) {
                const int64_t row = layout.row(p, j < layout.width() ? j : layout.width() - 1, lane);
                float value = 0;
                if (row >= 0 && gru && j >= 2) value = j == 2 ? (first ? first[row] : 0) : (second ? second[row] : 0);
                else if (row >= 0) value = (first ? first[row] : 0) + (second ? second[row] : 0);
                out[(p * 4 + j) * LANES + lane] = value;
            }
    return true;
}

bool make_linear(Layer& layer, const float* w, const float* bias, int64_t inputs, int64_t outputs, Bytes bytes) {
    const Layout layout{outputs, 0};
    return pack(layer.input, w, inputs, layout, bytes) && pack_start(layer.start, bias, nullptr, layout, false);
}

void free_net(void* network) {
    Net* net = (Net*)network;
    if (!net) return;
    for (int64_t k = 0; net->layers && k < net->shape.layers; ++k) drop(net->layers[k]);
    for (int64_t k = 0; net->after && k < net->shape.after; ++k) drop(net->after[k]);
    free(net->layers);
    free(net->after);
    drop(net->projection);
    drop(net->output);
    free(net->table);
    free(net->embedding);
    free(net);
}

void* make_net(const Shape& shape, Weights w) {
    Net* net = (Net*)calloc(1, sizeof(Net));
    if (!net) return nullptr;
    net->shape = shape;
    const int64_t V = shape.vocab, E = shape.embedding, H = shape.hidden;
    const int gates = gates_of(shape.arch);
    const bool gru = shape.arch == GRU;
    const Bytes bytes = net->bytes = shape.int8 ? ONE : THREE_BYTES && 4 * weights_of(shape) > CACHE ? THREE : FOUR;
    const Layout layout{H, gates};
    net->panels = layout.panels();
    net->wide = net->panels * (gates ? 1 : 4) * LANES;
    net->layers = (Layer*)calloc(shape.layers, sizeof(Layer));
    net->after = (Layer*)calloc(shape.after + 1, sizeof(Layer));
    bool good = net->layers && net->after;
    const float* first = *w++;
    const int64_t row_size = net->panels * 4 * LANES;
    if (shape.table) {
        const int64_t rows = (gates ? gates : 1) * H;
        good = good && (net->table = (float*)allocate(V * row_size * 4));
        for (int64_t v = 0; good && v < V; ++v) {
            float* packed = nullptr;
            // A GRU's fourth vector, what the state adds to n, starts at its own bias: the second bias of the first layer.
            if (!(good = pack_start(packed, first + v * rows, nullptr, layout, false))) break;
            memcpy(net->table + v * row_size, packed, row_size * 4);
            free(packed);
        }
    } else if (first) {
        good = good && (net->embedding = (float*)allocate(V * E * 4));
        if (good) memcpy(net->embedding, first, V * E * 4);
    }
    for (int64_t k = 0; good && k < shape.layers; ++k) {
        Layer& layer = net->layers[k];
        if (shape.arch == WINDOW) {
            good = make_linear(layer, w[0], w[1], k ? H : shape.window * E, H, bytes);
            w += 2;
            continue;
        }
        if (w[0]) good = pack(layer.input, w[0], k ? H : E, layout, bytes);
        if (w[1]) good = good && pack(layer.state, w[1], H, layout, bytes);
        good = good && pack_start(layer.start, w[2], w[3], layout, gru);
        if (good && k == 0 && shape.table && gru)
            for (int64_t v = 0; v < V; ++v)
                for (int64_t p = 0; p < net->panels; ++p) {
                    const int64_t at = (p * 4 + 3) * LANES;
                    memcpy(net->table + v * row_size + at, layer.start + at, LANES * 4);
                }
        w += 4;
    }
    for (int64_t k = 0; good && k < shape.after; ++k, w += 2) good = make_linear(net->after[k], w[0], w[1], H, H, bytes);
    if (good && w[0]) good = make_linear(net->projection, w[0], nullptr, H, shape.head, bytes);
    ++w;
    if (good && w[0]) good = make_linear(net->output, w[0], w[1], shape.head, V, bytes);
    if (good) return net;
    free_net(net);
    return nullptr;
}

// A row in a recurrent layer: its inputs x (none where the sums start at a table's row), its state h before, where the sums
// start, its cell c (of an LSTM; changed in place) and where its new state goes.
struct RowIn {
    RowInputs x, h;
    const float* start;
    float *c, *out;
};

// Panels that a few rows go through side by side, as far as the registers reach.
constexpr int abreast(int rows) { return rows == 1 || (rows == 2 && MAX_ROWS > 3) ? 2 : 1; }

// A unit's sums over its inputs (from its bias on) and over the state (from zero on) are added at the end: so either may be
// computed first, and the result is the same.
template <class Cell, int R, int NP>
INLINE void cell_tile(const Layer& layer, int64_t panel, const RowIn* row_in) {
    vf acc[NP][R][4] = {}, of_input[NP][R][4];
    RowInputs x[R], h[R];
    UNROLLED for (int r = 0; r < R; ++r) x[r] = row_in[r].x, h[r] = row_in[r].h;
    if constexpr (Cell::State::width > 0) product<typename Cell::State, R, NP>(acc, layer.state, panel, h);
    UNROLLED for (int r = 0; r < R; ++r)
        UNROLLED for (int n = 0; n < NP; ++n)
            UNROLLED for (int j = 0; j < 4; ++j)
                of_input[n][r][j] = load(row_in[r].start + ((panel + n) * 4 + j) * LANES);
    if (x[0].x) product<typename Cell::Input, R, NP>(of_input, layer.input, panel, x);
    UNROLLED for (int n = 0; n < NP; ++n)
        UNROLLED for (int r = 0; r < R; ++r) {
            const int64_t at = (panel + n) * Cell::vectors * LANES;
            UNROLLED for (int j = 0; j < 4; ++j) acc[n][r][j] = of_input[n][r][j] + acc[n][r][j];
            Cell::finish(acc[n][r], h[r].x + at, row_in[r].c ? row_in[r].c + at : nullptr, row_in[r].out + at);
        }
}

// Panels from the first or from the last: `tile` takes NP side by side as long as there are as many, `single` the rest.
template <int NP, class F, class G>
INLINE void by_panels(int64_t from, int64_t to, bool back, F&& tile, G&& single) {
    const int64_t whole = (to - from) / NP, rest = from + whole * NP;
    if (back)
        for (int64_t panel = to - 1; panel >= rest; --panel) single(panel);
    for (int64_t n = 0; n < whole; ++n) tile(from + (back ? whole - 1 - n : n) * NP);
    if (!back)
        for (int64_t panel = rest; panel < to; ++panel) single(panel);
}

// Calls `f` with the number of rows, at most MAX_ROWS, as a constant: registers are allotted when this is compiled.
template <int R> struct Constant { static constexpr int value = R; };
template <class F>
INLINE void with_constant(int64_t rows, F&& f) {
    switch (rows) {
        case 1: return f(Constant<1>{});
        case 2: return f(Constant<2>{});
        case 3: return f(Constant<3>{});
#if MAX_ROWS > 3
        case 4: return f(Constant<4>{});
        case 5: return f(Constant<5>{});
        case 6: return f(Constant<6>{});
#endif
    }
}

template <class Cell, int R>
APART void cell_panels(const Layer& layer, int64_t from, int64_t to, bool back, const RowIn* row_in) {
    constexpr int NP = abreast(R);
    by_panels<NP>(from, to, back, [&](int64_t panel) { cell_tile<Cell, R, NP>(layer, panel, row_in); },
                  [&](int64_t panel) { cell_tile<Cell, R, 1>(layer, panel, row_in); });
}

// A row's sums over its inputs alone, or over its state alone: where they start (null: at zero) and go, (panels, 4, LANES).
struct PartialSum {
    RowInputs x;
    const float* start;
    float* out;
};

template <class Map, int R, int NP>
INLINE void sum_tile(const Packed& w, int64_t panel, const PartialSum* sum) {
    vf acc[NP][R][4];
    RowInputs x[R];
    UNROLLED for (int r = 0; r < R; ++r) {
        x[r] = sum[r].x;
        UNROLLED for (int n = 0; n < NP; ++n)
            UNROLLED for (int j = 0; j < 4; ++j)
                acc[n][r][j] = sum[r].start ? load(sum[r].start + ((panel + n) * 4 + j) * LANES) : vf{};
    }
    product<Map, R, NP>(acc, w, panel, x);
    UNROLLED for (int n = 0; n < NP; ++n)
        UNROLLED for (int r = 0; r < R; ++r)
            UNROLLED for (int j = 0; j < 4; ++j) store(sum[r].out + ((panel + n) * 4 + j) * LANES, acc[n][r][j]);
}

template <class Map, int R>
APART void sum_panels(const Packed& w, int64_t from, int64_t to, bool back, const PartialSum* sum) {
    constexpr int NP = abreast(R);
    by_panels<NP>(from, to, back, [&](int64_t panel) { sum_tile<Map, R, NP>(w, panel, sum); },
                  [&](int64_t panel) { sum_tile<Map, R, 1>(w, panel, sum); });
}

// Sums of up to MAX_ROWS rows for the panels `from` up to `to`, from the first or from the last.
template <class Map>
void sums(const Packed& w, int64_t rows, int64_t from, int64_t to, bool back, const PartialSum* sum) {
    with_constant(rows, [&](auto r) { sum_panels<Map, r.value>(w, from, to, back, sum); });
}

// By panels first: a panel's weights stay in the cache while the rows pass. `begin` gets each panel before many rows do.
template <class G, class F>
INLINE void by_tiles(int64_t rows, int64_t from, int64_t to, bool back, G&& begin, F&& tile) {
    const int64_t wide = rows > 2 ? 1 : to - from;
    for (int64_t n = 0; n < to - from; n += wide) {
        const int64_t panel = back && wide == 1 ? to - 1 - n : from + n;
        if (rows > MAX_ROWS) begin(panel);
        for (int64_t row = 0; row < rows; row += MAX_ROWS)
            tile(row, rows - row < MAX_ROWS ? rows - row : MAX_ROWS, panel, panel + wide);
    }
}

// A panel of weights as many rows read it: those of three bytes are unpacked once, to `memory`, which moves on by as much.
Packed unpacked(const Packed& w, int64_t panel, float*& memory) {
    if (!w.three) return w;
    const int64_t vectors = w.inputs * w.width;
    for (int64_t k = 0; k < vectors; ++k) store(memory + k * LANES, widened(w.three + (panel * vectors + k) * LANES * 3));
    Packed one_panel = w;
    one_panel.three = nullptr, one_panel.f = memory, one_panel.first = panel;
    one_panel.scales = w.scales + panel * w.width * LANES;
    memory += vectors * LANES;
    return one_panel;
}

// Sums of any number of rows over their inputs.
template <class Map>
void all_sums(const Packed& w, int64_t rows, int64_t from, int64_t to, const PartialSum* sum, float* unpacked_panel) {
    Packed as_read = w;
    const auto begin = [&](int64_t panel) {
        float* memory = unpacked_panel;
        as_read = unpacked(w, panel, memory);
    };
    by_tiles(rows, from, to, false, begin, [&](int64_t row, int64_t count, int64_t p, int64_t q) {
        sums<Map>(as_read, count, p, q, false, sum + row);
    });
}

// A row's new state `out` from its sums over the inputs and over the state.
template <class Cell>
void finish(int64_t from, int64_t to, const float* of_input, const float* of_state, const float* h, float* c, float* out) {
    for (int64_t panel = from; panel < to; ++panel) {
        vf a[4];
        UNROLLED for (int j = 0; j < 4; ++j) {
            a[j] = load(of_input + (panel * 4 + j) * LANES);
            if constexpr (Cell::State::width > 0) a[j] += load(of_state + (panel * 4 + j) * LANES);
        }
        const int64_t at = panel * Cell::vectors * LANES;
        Cell::finish(a, h + at, c ? c + at : nullptr, out + at);
    }
}

enum Act { AS_IS, TANH, GELU };

// The columns of a linear layer that a call computes, up to `end`; column `first` lands at out[row][0].
struct Columns {
    int64_t first, end;
    Act act;
};

// out (R rows) = act(W x + b) for the columns of some panels; only those before the end are written.
template <int R, int NP>
INLINE void linear_tile(const Layer& layer, int64_t panel, const RowInputs* x, float* const* out, Columns columns) {
    vf acc[NP][R][4];
    UNROLLED for (int n = 0; n < NP; ++n)
        UNROLLED for (int r = 0; r < R; ++r)
            UNROLLED for (int j = 0; j < 4; ++j) acc[n][r][j] = load(layer.start + ((panel + n) * 4 + j) * LANES);
    product<Four, R, NP>(acc, layer.input, panel, x);
    UNROLLED for (int n = 0; n < NP; ++n)
        UNROLLED for (int r = 0; r < R; ++r)
            UNROLLED for (int j = 0; j < 4; ++j) {
                const int64_t at = ((panel + n) * 4 + j) * LANES;
                if (at >= columns.end) continue;
                const vf a = acc[n][r][j], y = columns.act == AS_IS ? a : columns.act == TANH ? tanh_of(a) : gelu(a);
                float* const to = out[r] + at - columns.first;
                if (at + LANES <= columns.end) store(to, y);
                else for (int lane = 0; at + lane < columns.end; ++lane) to[lane] = y[lane];
            }
}

template <int R>
APART void linear_panels(const Layer& layer, int64_t from, int64_t to, const RowInputs* x, float* const* out,
                         Columns columns) {
    constexpr int NP = abreast(R);
    by_panels<NP>(from, to, false, [&](int64_t panel) { linear_tile<R, NP>(layer, panel, x, out, columns); },
                  [&](int64_t panel) { linear_tile<R, 1>(layer, panel, x, out, columns); });
}

// New states of rows in a recurrent layer, for the panels `from` up to `to`.
template <class Cell>
void cells(const Layer& layer, int64_t rows, int64_t from, int64_t to, bool back, const RowIn* row_in, float* unpacked_panel) {
    Layer as_read = layer;
    const auto begin = [&](int64_t panel) {
        float* memory = unpacked_panel;
        as_read.input = unpacked(layer.input, panel, memory), as_read.state = unpacked(layer.state, panel, memory);
    };
    by_tiles(rows, from, to, back, begin, [&](int64_t row, int64_t count, int64_t p, int64_t q) {
        with_constant(count, [&](auto r) { cell_panels<Cell, r.value>(as_read, p, q, back, row_in + row); });
    });
}

// Results of rows in a linear layer, for the panels `from` up to `to`.
void linear(const Layer& layer, int64_t rows, int64_t from, int64_t to, const RowInputs* x, float* const* out,
            Columns columns, float* unpacked_panel) {
    Layer as_read = layer;
    const auto begin = [&](int64_t panel) {
        float* memory = unpacked_panel;
        as_read.input = unpacked(layer.input, panel, memory);
    };
    by_tiles(rows, from, to, false, begin, [&](int64_t row, int64_t count, int64_t p, int64_t q) {
        with_constant(count, [&](auto r) { linear_panels<r.value>(as_read, p, q, x + row, out + row, columns); });
    });
}

}  // namespace
