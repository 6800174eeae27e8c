// Rows that are stepped together: their memory and a step through all layers. LANES numbers at a time.
#pragma once
#include "layers.h"

namespace {

// What a step reads of a row: a vector, or, where they are known, the first layer's sums over it, (panels, 4, LANES).
struct Symbol {
    const float *x, *sums;
};

// The first layer's sums of the steps to come: over what is read in all of them, weights pass through the cache once.
struct Ahead {
    int64_t steps;            // at most; 0: none are computed ahead
    float* sums;              // (steps, rows, panels, 4, LANES)
    PartialSum* partial;      // (steps · rows,)
    quantum* quanta;          // (steps · rows, widest): what is read in eight bits
    float* unpacked_panel;    // the weights of a panel in float32

    static constexpr int64_t SIZE = 256 << 10;  // bytes of sums, which stay in the cache

    // For rows of up to `longest` symbols. A single step would only write its sums and read them again.
    static int64_t steps_of(const Net& net, int64_t count, int64_t longest) {
        if (net.table || net.shape.arch == WINDOW) return 0;
        const int64_t most = SIZE / (count * net.panels * 4 * LANES * 4), steps = longest < most ? longest : most;
        return steps < 2 ? 0 : steps;
    }
};

// Rows of one thread, or of a team of threads that shares each step by panels. What the team writes together lies in `shared`:
// the states, one before and one after a step, and the outputs of linear layers. The rest each thread computes for itself.
struct Rows {
    const Net& net;
    Job& job;
    const int64_t count;            // rows; below (rows, …)
    const int thread, threads;      // of the team; 0 and 1 where a thread has the rows alone
    int64_t active;                 // those that still have symbols: the first of them
    int64_t turn = 0;               // steps taken; odd ones go backwards through the weights
    float *h, *c;                   // shared: h (layers, 2, rows, wide), c (layers, rows, wide)
    float* lines;                   // shared: outputs of linear layers, by turns (2, rows, widest); a window's inputs (rows, …)
    float* residual;                // (rows, wide): a layer's output and its input, added
    float* layer_sum;               // (rows, wide): the outputs of all layers, added
    float *input_sums, *state_sums; // of few rows: a layer's input (rows, panels, 4, LANES), each layer's state (layers, rows, …)
    PartialSum* partial;            // of few rows: (rows,)
    float* unpacked_panel;          // of many rows: the weights of a panel in float32
    quantum *x_quanta, *h_quanta;   // (rows, widest): inputs and states in eight bits
    RowIn* rows_in;                 // (rows,): the arguments of a recurrent layer
    RowInputs* linear_inputs;       // (rows,): the arguments of a linear layer,
    float** outputs;                // (rows,): and where its results go
    Symbol* symbols;                // (rows,): what the next step reads
    Ahead ahead;
    int64_t widest;                 // floats from one line to the next

    static int64_t widest_of(const Net& net) {
        const int64_t layer = net.wide > net.shape.embedding ? net.wide : net.shape.embedding;
        const int64_t window = net.shape.arch == WINDOW ? net.shape.window * net.shape.embedding : 0;
        return up(layer > window ? layer : window, 4 * LANES) + 4 * LANES;
    }
    static int64_t shared_floats(const Net& net, int64_t count) {
        const int64_t parts = net.shape.arch == WINDOW ? 0 : net.shape.layers * (net.shape.arch == LSTM ? 3 : 2);
        return count * (parts * net.wide + 3 * widest_of(net));
    }
    static int64_t unpacked_bytes(const Net& net, int64_t count) {
        return net.bytes == THREE && count > MAX_ROWS ? 2 * widest_of(net) * 4 * LANES * 4 : 0;
    }
    // Floats of the sums of one layer's input or state: only few rows have any.
    static int64_t sums_floats(const Net& net, int64_t count) {
        return count > MAX_ROWS || net.shape.layers < 2 ? 0 : count * net.panels * 4 * LANES;
    }
    static int64_t bytes_of(const Net& net, int64_t count) {
        const int64_t arguments = sizeof(RowIn) + sizeof(RowInputs) + sizeof(PartialSum) + sizeof(float*) + sizeof(Symbol);
        return up(count * net.wide * 4, 64) * 2 + up(count * widest_of(net) * (int64_t)sizeof(quantum), 64) * 2 +
               (net.shape.layers + 1) * sums_floats(net, count) * 4 + unpacked_bytes(net, count) + up(count * arguments, 64);
    }
    static int64_t ahead_bytes(const Net& net, int64_t symbols) {
        const int64_t quanta = net.shape.int8 ? widest_of(net) * (int64_t)sizeof(quantum) : 0;
        const int64_t each = net.panels * 4 * LANES * 4 + quanta + (int64_t)sizeof(PartialSum);
        return symbols ? up(symbols * each, 64) + 128 + unpacked_bytes(net, symbols) : 0;
    }
    // For `count` rows or fewer, since few rows have sums too, and `steps` that are computed ahead.
    static int64_t own_bytes(const Net& net, int64_t count, int64_t steps) {
        const int64_t many = bytes_of(net, count), few = bytes_of(net, count < MAX_ROWS ? count : MAX_ROWS);
        return up(many > few ? many : few, 64) + ahead_bytes(net, steps * count);
    }

    Rows(const Net& net, Job& job, int64_t count, int thread, int threads, int64_t steps, float* shared, char* own)
        : net(net), job(job), count(count), thread(thread), threads(threads), active(count), widest(widest_of(net)) {
        const int64_t layers = net.shape.arch == WINDOW ? 0 : net.shape.layers;
        h = shared;
        c = h + layers * 2 * count * net.wide;
        lines = c + (net.shape.arch == LSTM ? layers * count * net.wide : 0);
        residual = (float*)own, own += up(count * net.wide * 4, 64);
        layer_sum = (float*)own, own += up(count * net.wide * 4, 64);
        x_quanta = (quantum*)own, own += up(count * widest * (int64_t)sizeof(quantum), 64);
        h_quanta = (quantum*)own, own += up(count * widest * (int64_t)sizeof(quantum), 64);
        input_sums = (float*)own, own += sums_floats(net, count) * 4;
        state_sums = (float*)own, own += sums_floats(net, count) * 4 * net.shape.layers;
        unpacked_panel = (float*)own, own += unpacked_bytes(net, count);
        partial = (PartialSum*)own, own += count * sizeof(PartialSum);
        rows_in = (RowIn*)own, own += count * sizeof(RowIn);
        linear_inputs = (RowInputs*)own, own += count * sizeof(RowInputs);
        outputs = (float**)own, own += count * sizeof(float*);
        symbols = (Symbol*)own, own += count * sizeof(Symbol);
        ahead.steps = steps;
        if (!steps) return;
        own += -(uintptr_t)own % 64;
        ahead.sums = (float*)own, own += steps * count * net.panels * 4 * LANES * 4;
        ahead.unpacked_panel = (float*)own, own += unpacked_bytes(net, steps * count);
        ahead.quanta = (quantum*)own, own += net.shape.int8 ? up(steps * count * widest * (int64_t)sizeof(quantum), 64) : 0;
        ahead.partial = (PartialSum*)own;
    }

    float* state(int64_t layer, int64_t which, int64_t row) const { return h + ((layer * 2 + which) * count + row) * net.wide; }
    float* cell(int64_t layer, int64_t row) const { return c + (layer * count + row) * net.wide; }
    float* line(int64_t which, int64_t row) const { return lines + (which * count + row) * widest; }
    float* window(int64_t row) const { return line(2, row); }
    int64_t sums_size() const { return net.panels * 4 * LANES; }
    float* sums_ahead(int64_t step, int64_t row) const { return ahead.sums + (step * count + row) * sums_size(); }
    float* input_sums_of(int64_t row) const { return input_sums + row * sums_size(); }
    float* state_sums_of(int64_t layer, int64_t row) const { return state_sums + (layer * count + row) * sums_size(); }

    void meet() { if (threads > 1) wait(job.barrier); }
    // This thread's share of the panels: from the first to before the last.
    int64_t first_panel(int64_t panels) const { return panels * thread / threads; }
    int64_t last_panel(int64_t panels) const { return panels * (thread + 1) / threads; }

    RowInputs inputs_of(const float* x, int64_t inputs, quantum* q) {
        RowInputs row{x, q, 0};
        if (net.shape.int8) {
            row.scale = quantise(x, inputs, q);
            for (int64_t k = inputs; k < up(inputs, GROUP); ++k) q[k] = GROUP == 4 ? 128 : 0;
        }
        return row;
    }

    // The number of row r in the caller's arrays, and the number of states that it has been through.
    int64_t number(int64_t first, int64_t r) const { return job.spans ? job.spans[first + r].row : first + r; }
    int64_t steps_of(int64_t first, int64_t r) const { return job.spans ? job.spans[first + r].length : turn; }

    // States come in and go out between the caller's arrays, (B, H), and rows of whole panels. The team's first thread does it.
    void load_state(int64_t first) {
        const Shape& s = net.shape;
        if (thread) return;
        if (s.arch == WINDOW) {
            const int64_t size = (s.window - 1) * s.embedding;
            for (int64_t r = 0; r < count; ++r)
                memcpy(window(r) + s.embedding, job.state[0] + number(first, r) * size, size * 4);
            return;
        }
        memset(h, 0, s.layers * 2 * count * net.wide * 4);
        if (s.arch == LSTM) memset(c, 0, s.layers * count * net.wide * 4);
        if (!job.state) return;
        const int64_t parts = s.arch == LSTM ? 2 : 1;
        for (int64_t k = 0; k < s.layers; ++k)
            for (int64_t r = 0; r < count; ++r) {
                const int64_t from = number(first, r) * s.hidden;
                memcpy(state(k, 0, r), job.state[k * parts] + from, s.hidden * 4);
                if (parts == 2) memcpy(cell(k, r), job.state[k * parts + 1] + from, s.hidden * 4);
            }
    }
    void save_state(int64_t first) {
        const Shape& s = net.shape;
        if (thread || !job.state) return;
        if (s.arch == WINDOW) {
            const int64_t size = (s.window - 1) * s.embedding;
            for (int64_t r = 0; r < count; ++r)
                memcpy(job.state[0] + number(first, r) * size, window(r) + s.embedding, size * 4);
            return;
        }
        const int64_t parts = s.arch == LSTM ? 2 : 1;
        for (int64_t k = 0; k < s.layers; ++k)
            for (int64_t r = 0; r < count; ++r) {
                const int64_t to = number(first, r) * s.hidden;
                memcpy(job.state[k * parts] + to, state(k, steps_of(first, r) & 1, r), s.hidden * 4);
                if (parts == 2) memcpy(job.state[k * parts + 1] + to, cell(k, r), s.hidden * 4);
            }
    }

    // Sets what the next step reads of row r: a symbol of the vocabulary, or a vector.
    void look_up(int64_t r, int64_t id) {
        if (net.table) symbols[r] = Symbol{nullptr, net.table + id * sums_size()};
        else symbols[r] = Symbol{net.embedding + id * net.shape.embedding, nullptr};
    }
    void look_up(int64_t r, const Span& span, int64_t t) {
        const int64_t at = place(span, t);
        if (job.ids) look_up(r, job.ids[at]);
        else symbols[r] = Symbol{job.vectors + at * net.shape.embedding, nullptr};
    }
    // Where the symbol of step t is among those of all rows.
    int64_t place(const Span& span, int64_t t) const { return span.first + (job.backwards ? span.length - 1 - t : t); }

    // Computes the first layer's sums for steps from t on, as far as there is room: this thread's share of the panels.
    void sum_ahead(const Span* spans, int64_t t) {
        PartialSum* sum = ahead.partial;
        for (int64_t step = 0; step < ahead.steps; ++step)
            for (int64_t r = 0; r < active && t + step < spans[r].length; ++r, ++sum) {
                look_up(r, spans[r], t + step);
                quantum* const q = ahead.quanta + (sum - ahead.partial) * widest;
                *sum = PartialSum{inputs_of(symbols[r].x, net.shape.embedding, q), net.layers[0].start, sums_ahead(step, r)};
            }
        with_cell(net.shape.arch, [&](auto cell) {
            typedef typename decltype(cell)::Input Input;
            const int64_t from = first_panel(net.panels), to = last_panel(net.panels);
            all_sums<Input>(net.layers[0].input, sum - ahead.partial, from, to, ahead.partial, ahead.unpacked_panel);
        });
    }

    // Sets what step t reads, and computes sums ahead where the last ones have been read.
    void look_up_all(const Span* spans, int64_t t) {
        if (ahead.steps && t % ahead.steps == 0) sum_ahead(spans, t);
        for (int64_t r = 0; r < active; ++r)
            if (ahead.steps) symbols[r] = Symbol{nullptr, sums_ahead(t % ahead.steps, r)};
            else look_up(r, spans[r], t);
    }

    // Reads `symbols`, the last of its job or not; returns where the outputs of the last layer lie, `stride` apart.
    const float* step(bool last, int64_t& stride) {
        const Shape& s = net.shape;
        if (s.arch == WINDOW) return step_window(stride);
        stride = net.wide;
        return with_cell(s.arch, [&](auto cell) { return step_recurrent<decltype(cell)>(last); });
    }
    template <class Cell>
    const float* step_recurrent(bool last) {
        const bool few = count <= MAX_ROWS && net.shape.layers > 1;
        return few ? step_few_rows<Cell>(last) : step_layers<Cell>();
    }

    // What layer k hands on, given its input x and its new state y.
    const float* layer_output(int64_t k, const float* x, const float* y) {
        if (net.shape.skip == RESIDUAL && k) {
            for (int64_t i = 0; i < active * net.wide; i += LANES) store(residual + i, load(y + i) + load(x + i));
            y = residual;
        }
        if (net.shape.skip == SUM)
            for (int64_t i = 0; i < active * net.wide; i += LANES)
                store(layer_sum + i, k ? load(layer_sum + i) + load(y + i) : load(y + i));
        return y;
    }

    // A layer after the other; every second step backwards through the weights of each.
    template <class Cell>
    const float* step_layers() {
        const Shape& s = net.shape;
        const float* x = nullptr;  // inputs of layer k, `wide` apart
        const int64_t before = turn & 1, after = before ^ 1;
        for (int64_t k = 0; k < s.layers; ++k) {
            const Layer& layer = net.layers[k];
            for (int64_t r = 0; r < active; ++r) {
                RowIn& row = rows_in[r];
                row.start = layer.start;
                row.x = RowInputs{nullptr, nullptr, 0};
                if (k) row.x = inputs_of(x + r * net.wide, s.hidden, x_quanta + r * widest);
                else if (symbols[r].sums) row.start = symbols[r].sums;
                else row.x = inputs_of(symbols[r].x, s.embedding, x_quanta + r * widest);
                row.h = inputs_of(state(k, before, r), s.hidden, h_quanta + r * widest);
                row.c = s.arch == LSTM ? cell(k, r) : nullptr;
                row.out = state(k, after, r);
            }
            cells<Cell>(layer, active, first_panel(net.panels), last_panel(net.panels), turn & 1, rows_in, unpacked_panel);
            meet();
            x = layer_output(k, x, state(k, after, 0));
        }
        turn = turn + 1;
        return s.skip == SUM ? layer_sum : x;
    }

    template <class Cell>
    void sum_state(int64_t k, int64_t which) {
        if constexpr (Cell::State::width > 0) {
            for (int64_t r = 0; r < active; ++r) {
                const RowInputs h = inputs_of(state(k, which, r), net.shape.hidden, h_quanta + r * widest);
                partial[r] = PartialSum{h, nullptr, state_sums_of(k, r)};
            }
            const int64_t from = first_panel(net.panels), to = last_panel(net.panels);
            sums<typename Cell::State>(net.layers[k].state, active, from, to, turn & 1, partial);
        }
    }

    // Few rows wait for the weights. So that what a core's cache still holds of them is read first, every second step goes
    // backwards through all of them, as far as the order of layers lets it: through two layers wholly. For that the first
    // layer's sums of its state are computed a step ahead. With U for weights of a state and W for those of an input:
    //   U₁ h₁, U₀ h₀ (for the next step), W₁ h₀; the next step W₁ h₀, U₀ h₀, U₁ h₁.
    template <class Cell>
    const float* step_few_rows(bool last) {
        const Shape& s = net.shape;
        const float* x = nullptr;
        const int64_t before = turn & 1, after = before ^ 1, from = first_panel(net.panels), to = last_panel(net.panels);
        const bool back = turn & 1;
        if (!turn) sum_state<Cell>(0, before);
        for (int64_t k = s.layers - 1; !back && k > 0; --k) sum_state<Cell>(k, before);
        for (int64_t k = 0; k < s.layers; ++k) {
            const bool looked_up = !k && symbols[0].sums;
            if (!looked_up) {
                const int64_t inputs = k ? s.hidden : s.embedding;
                for (int64_t r = 0; r < active; ++r) {
                    const float* row = k ? x + r * net.wide : symbols[r].x;
                    partial[r] = PartialSum{inputs_of(row, inputs, x_quanta + r * widest), net.layers[k].start, input_sums_of(r)};
                }
                sums<typename Cell::Input>(net.layers[k].input, active, from, to, back, partial);
            }
            if (back && k == 1 && !last) sum_state<Cell>(0, after);
            if (back && k) sum_state<Cell>(k, before);
            for (int64_t r = 0; r < active; ++r)
                finish<Cell>(from, to, looked_up ? symbols[r].sums : input_sums_of(r), state_sums_of(k, r),
                             state(k, before, r), s.arch == LSTM ? cell(k, r) : nullptr, state(k, after, r));
            meet();
            if (!k && !last && !back) sum_state<Cell>(0, after);
            x = layer_output(k, x, state(k, after, 0));
        }
        turn = turn + 1;
        return s.skip == SUM ? layer_sum : x;
    }

    const float* step_window(int64_t& stride) {
        const Shape& s = net.shape;
        const int64_t size = s.window * s.embedding;
        if (!thread)
            for (int64_t r = 0; r < active; ++r) {
                memmove(window(r), window(r) + s.embedding, (size - s.embedding) * 4);
                memcpy(window(r) + size - s.embedding, symbols[r].x, s.embedding * 4);
            }
        meet();
        for (int64_t k = 0; k < s.layers; ++k) {
            for (int64_t r = 0; r < active; ++r) {
                const float* row = k ? line((k - 1) & 1, r) : window(r);
                linear_inputs[r] = inputs_of(row, k ? s.hidden : size, x_quanta + r * widest);
                outputs[r] = line(k & 1, r);
            }
            step_linear(net.layers[k], s.hidden, TANH);
        }
        stride = widest;
        return line((s.layers - 1) & 1, 0);
    }

    // From outputs of the last layer to inputs of the output layer, in `linear_inputs`; uses the lines from `which` on.
    void prepare_output(const float* y, int64_t stride, int64_t which) {
        const Shape& s = net.shape;
        int64_t inputs = s.hidden;
        for (int64_t k = 0; k < s.after + (net.projection.start != nullptr); ++k, ++which) {
            const int64_t columns = k < s.after ? s.hidden : s.head;
            for (int64_t r = 0; r < count; ++r) {
                linear_inputs[r] = inputs_of(y + r * stride, inputs, x_quanta + r * widest);
                outputs[r] = line(which & 1, r);
            }
            step_linear(k < s.after ? net.after[k] : net.projection, columns, k < s.after ? GELU : AS_IS);
            y = line(which & 1, 0), stride = widest, inputs = columns;
        }
        for (int64_t r = 0; r < count; ++r) linear_inputs[r] = inputs_of(y + r * stride, inputs, x_quanta + r * widest);
    }
    int64_t next_line() const { return net.shape.arch == WINDOW ? net.shape.layers : 0; }

    // This thread's share of a linear layer from `linear_inputs` to `outputs`, then waits for the others'.
    void step_linear(const Layer& layer, int64_t columns, Act act) {
        const int64_t from = first_panel(layer.input.panels), to = last_panel(layer.input.panels);
        linear(layer, count, from, to, linear_inputs, outputs, Columns{0, columns, act}, unpacked_panel);
        meet();
    }
};

}  // namespace
