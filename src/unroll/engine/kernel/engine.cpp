// The network stepped on one instruction set: this file is compiled once for each, see hatch_build.py. LANES numbers at a time.
//
// A unit's sum runs over its inputs in order, one fused multiply-add each, whatever the number of rows and threads: so a row's
// result never depends on its neighbours, bit for bit. Nothing here may come from a header whose code is not in the
// unnamed namespace (the linker would merge copies made for different processors).
#include "layers.h"

namespace {

// Rows of one thread, or of a team of threads that shares each step by panels. What the team writes together lies in `shared`
// (states, one before and one after; outputs of linear layers); what each works out for itself is its own.
struct Walk {
    const Net& net;
    Job& job;
    const int64_t rows;
    const int me, team;
    int64_t turn = 0;
    float *h, *c, *line;     // shared: h (layers, 2, rows, wide), c (layers, rows, wide); line: outputs (2, rows, widest), a window's inputs
    float *own, *sum;        // (rows, wide) each: a layer's input with its skip, the sum of all layers
    float *of_input, *of_state;  // of few rows: sums of a layer's input (rows, panels, 4, LANES) and of each layer's state (layers, …)
    Sum* few;
    float* room;  // of many rows: a panel's weights, set apart
    quantum *qx, *qh;        // (rows, widest)
    Place* places;
    Row* list;
    float** targets;
    int64_t widest;

    static int64_t widest_of(const Net& net) {
        const int64_t a = net.wide > net.shape.embedding ? net.wide : net.shape.embedding;
        const int64_t b = net.shape.arch == WINDOW ? net.shape.window * net.shape.embedding : 0;
        return up(a > b ? a : b, 4 * LANES) + 4 * LANES;
    }
    static int64_t shared_floats(const Net& net, int64_t rows) {
        const int64_t parts = net.shape.arch == WINDOW ? 0 : net.shape.layers * (net.shape.arch == LSTM ? 3 : 2);
        return rows * (parts * net.wide + 3 * widest_of(net));
    }
    static int64_t room_bytes(const Net& net, int64_t rows) {
        return net.bytes == THREE && rows > MAX_ROWS ? 2 * widest_of(net) * 4 * LANES * 4 : 0;
    }
    // For so many rows or fewer: of few there are sums too.
    static int64_t own_bytes(const Net& net, int64_t rows) {
        const int64_t all = bytes_of(net, rows), few = bytes_of(net, rows < MAX_ROWS ? rows : MAX_ROWS);
        return all > few ? all : few;
    }
    static int64_t bytes_of(const Net& net, int64_t rows) {
        const int64_t sums = rows > MAX_ROWS || net.shape.layers < 2 ? 0 : (net.shape.layers + 1) * rows * net.panels * 4 * LANES * 4;
        return up(rows * net.wide * 4, 64) * 2 + up(rows * widest_of(net) * (int64_t)sizeof(quantum), 64) * 2 + sums + room_bytes(net, rows) +
               up(rows * (int64_t)(sizeof(Place) + sizeof(Row) + sizeof(Sum) + sizeof(float*)), 64);
    }

    Walk(const Net& net, Job& job, int64_t rows, int me, int team, float* shared, char* mine)
        : net(net), job(job), rows(rows), me(me), team(team), widest(widest_of(net)) {
        const int64_t layers = net.shape.arch == WINDOW ? 0 : net.shape.layers;
        h = shared;
        c = h + layers * 2 * rows * net.wide;
        line = c + (net.shape.arch == LSTM ? layers * rows * net.wide : 0);
        own = (float*)mine, mine += up(rows * net.wide * 4, 64);
        sum = (float*)mine, mine += up(rows * net.wide * 4, 64);
        qx = (quantum*)mine, mine += up(rows * widest * (int64_t)sizeof(quantum), 64);
        qh = (quantum*)mine, mine += up(rows * widest * (int64_t)sizeof(quantum), 64);
        const int64_t each = rows > MAX_ROWS || net.shape.layers < 2 ? 0 : rows * net.panels * 4 * LANES;
        of_input = (float*)mine, mine += each * 4;
        of_state = (float*)mine, mine += each * 4 * net.shape.layers;
        room = (float*)mine, mine += room_bytes(net, rows);
        few = (Sum*)mine, mine += rows * sizeof(Sum);
        places = (Place*)mine, mine += rows * sizeof(Place);
        list = (Row*)mine, mine += rows * sizeof(Row);
        targets = (float**)mine;
    }

    float* state(int64_t layer, int64_t which, int64_t row) const { return h + ((layer * 2 + which) * rows + row) * net.wide; }
    float* cell(int64_t layer, int64_t row) const { return c + (layer * rows + row) * net.wide; }
    float* window(int64_t row) const { return line + 2 * rows * widest + row * widest; }
    float* output(int64_t which, int64_t row) const { return line + (which * rows + row) * widest; }
    void meet() { if (team > 1) wait(job.barrier); }
    int64_t share(int64_t panels, int which) const { return panels * which / team; }

    Row row_of(const float* x, int64_t inputs, quantum* q) {
        Row row{x, q, 0};
        if (net.shape.int8) {
            row.scale = quantise(x, inputs, q);
            for (int64_t k = inputs; k < up(inputs, GROUP); ++k) q[k] = GROUP == 4 ? 128 : 0;
        }
        return row;
    }

    // States come in and go out between the caller's arrays, (B, H), and rows of whole panels. By the first of a team.
    void take(int64_t first) {
        const Shape& s = net.shape;
        if (me) return;
        if (s.arch == WINDOW) {
            const int64_t size = (s.window - 1) * s.embedding;
            for (int64_t r = 0; r < rows; ++r) memcpy(window(r) + s.embedding, job.state[0] + (first + r) * size, size * 4);
            return;
        }
        const int64_t parts = s.arch == LSTM ? 2 : 1;
        for (int64_t k = 0; k < s.layers; ++k)
            for (int64_t r = 0; r < rows; ++r) {
                for (int64_t which = 0; which < 2; ++which) memset(state(k, which, r), 0, net.wide * 4);
                memcpy(state(k, 0, r), job.state[k * parts] + (first + r) * s.hidden, s.hidden * 4);
                if (parts < 2) continue;
                memset(cell(k, r), 0, net.wide * 4);
                memcpy(cell(k, r), job.state[k * parts + 1] + (first + r) * s.hidden, s.hidden * 4);
            }
    }
    void give(int64_t first) {
        const Shape& s = net.shape;
        if (me) return;
        if (s.arch == WINDOW) {
            const int64_t size = (s.window - 1) * s.embedding;
            for (int64_t r = 0; r < rows; ++r) memcpy(job.state[0] + (first + r) * size, window(r) + s.embedding, size * 4);
            return;
        }
        const int64_t parts = s.arch == LSTM ? 2 : 1;
        for (int64_t k = 0; k < s.layers; ++k)
            for (int64_t r = 0; r < rows; ++r) {
                memcpy(job.state[k * parts] + (first + r) * s.hidden, state(k, turn & 1, r), s.hidden * 4);
                if (parts == 2) memcpy(job.state[k * parts + 1] + (first + r) * s.hidden, cell(k, r), s.hidden * 4);
            }
    }

    // Reads one symbol a row, the last of this walk or not; returns where the outputs of the last layer lie, `stride` apart.
    const float* step(const int64_t* ids, int64_t ids_stride, bool last, int64_t& stride) {
        const Shape& s = net.shape;
        if (s.arch == WINDOW) return step_window(ids, ids_stride, stride);
        stride = net.wide;
        if (rows > MAX_ROWS || s.layers < 2) return step_layers(ids, ids_stride);
        return s.arch == LSTM ? step_few<LstmCell>(ids, ids_stride, last)
             : s.arch == GRU ? step_few<GruCell>(ids, ids_stride, last) : step_few<RnnCell>(ids, ids_stride, last);
    }

    // What layer k hands on, from what it was given and its new state.
    const float* handed_on(int64_t k, const float* x, const float* y) {
        if (net.shape.skip == RESIDUAL && k) {
            for (int64_t i = 0; i < rows * net.wide; i += LANES) store(own + i, load(y + i) + load(x + i));
            y = own;
        }
        if (net.shape.skip == SUM)
            for (int64_t i = 0; i < rows * net.wide; i += LANES) store(sum + i, k ? load(sum + i) + load(y + i) : load(y + i));
        return y;
    }

    // A layer after the other; every second step backwards through the weights of each.
    const float* step_layers(const int64_t* ids, int64_t ids_stride) {
        const Shape& s = net.shape;
        const float* x = nullptr;  // of the layer at hand, `wide` apart
        const int64_t before = turn & 1, after = before ^ 1;
        for (int64_t k = 0; k < s.layers; ++k) {
            const Layer& layer = net.layers[k];
            for (int64_t r = 0; r < rows; ++r) {
                Place& place = places[r];
                const int64_t id = ids[r * ids_stride];
                place.start = layer.start;
                place.x = Row{nullptr, nullptr, 0};
                if (k) place.x = row_of(x + r * net.wide, s.hidden, qx + r * widest);
                else if (s.table) place.start = net.table + id * net.panels * 4 * LANES;
                else place.x = row_of(net.embedding + id * s.embedding, s.embedding, qx + r * widest);
                place.h = row_of(state(k, before, r), s.hidden, qh + r * widest);
                place.c = s.arch == LSTM ? cell(k, r) : nullptr;
                place.out = state(k, after, r);
            }
            const int64_t from = share(net.panels, me), to = share(net.panels, me + 1);
            if (s.arch == LSTM) cells<LstmCell>(layer, rows, from, to, turn & 1, places, room);
            else if (s.arch == GRU) cells<GruCell>(layer, rows, from, to, turn & 1, places, room);
            else cells<RnnCell>(layer, rows, from, to, turn & 1, places, room);
            meet();
            x = handed_on(k, x, state(k, after, 0));
        }
        turn = turn + 1;
        return s.skip == SUM ? sum : x;
    }

    float* sums_of_state(int64_t layer, int64_t row) const { return of_state + (layer * rows + row) * net.panels * 4 * LANES; }
    float* sums_of_input(int64_t row) const { return of_input + row * net.panels * 4 * LANES; }

    template <class Cell>
    void sum_state(int64_t k, int64_t which) {
        for (int64_t r = 0; r < rows; ++r) few[r] = Sum{row_of(state(k, which, r), net.shape.hidden, qh + r * widest), nullptr, sums_of_state(k, r)};
        sums<typename Cell::State>(net.layers[k].state, rows, share(net.panels, me), share(net.panels, me + 1), turn & 1, few);
    }

    // Few rows wait for the weights. So that what a core's cache still holds of them is read first, every second step goes
    // backwards through all of them, as far as the order of layers lets it: through two layers wholly. For that the first
    // layer's sums of its state are worked out a step ahead. With U for weights of a state and W for those of an input:
    //   U₁ h₁, U₀ h₀ (for the next step), W₁ h₀; the next step W₁ h₀, U₀ h₀, U₁ h₁.
    template <class Cell>
    const float* step_few(const int64_t* ids, int64_t ids_stride, bool last) {
        const Shape& s = net.shape;
        const float* x = nullptr;
        const int64_t before = turn & 1, after = before ^ 1, from = share(net.panels, me), to = share(net.panels, me + 1);
        const bool back = turn & 1;
        if (!turn) sum_state<Cell>(0, before);
        for (int64_t k = s.layers - 1; !back && k > 0; --k) sum_state<Cell>(k, before);
        for (int64_t k = 0; k < s.layers; ++k) {
            const bool looked_up = !k && s.table;
            if (!looked_up) {
                const int64_t inputs = k ? s.hidden : s.embedding;
                for (int64_t r = 0; r < rows; ++r)
                    few[r] = Sum{row_of(k ? x + r * net.wide : net.embedding + ids[r * ids_stride] * inputs, inputs, qx + r * widest), net.layers[k].start, sums_of_input(r)};
                sums<typename Cell::Input>(net.layers[k].input, rows, from, to, back, few);
            }
            if (back && k == 1 && !last) sum_state<Cell>(0, after);
            if (back && k) sum_state<Cell>(k, before);
            for (int64_t r = 0; r < rows; ++r)
                finish<Cell>(from, to, looked_up ? net.table + ids[r * ids_stride] * net.panels * 4 * LANES : sums_of_input(r),
                             sums_of_state(k, r), state(k, before, r), s.arch == LSTM ? cell(k, r) : nullptr, state(k, after, r));
            meet();
            if (!k && !last && !back) sum_state<Cell>(0, after);
            x = handed_on(k, x, state(k, after, 0));
        }
        turn = turn + 1;
        return s.skip == SUM ? sum : x;
    }

    const float* step_window(const int64_t* ids, int64_t ids_stride, int64_t& stride) {
        const Shape& s = net.shape;
        const int64_t size = s.window * s.embedding;
        if (!me)
            for (int64_t r = 0; r < rows; ++r) {
                memmove(window(r), window(r) + s.embedding, (size - s.embedding) * 4);
                memcpy(window(r) + size - s.embedding, net.embedding + ids[r * ids_stride] * s.embedding, s.embedding * 4);
            }
        meet();
        for (int64_t k = 0; k < s.layers; ++k) {
            for (int64_t r = 0; r < rows; ++r) {
                list[r] = row_of(k ? output((k - 1) & 1, r) : window(r), k ? s.hidden : size, qx + r * widest);
                targets[r] = output(k & 1, r);
            }
            const int64_t panels = net.layers[k].input.panels;
            linear(net.layers[k], rows, share(panels, me), share(panels, me + 1), list, targets, 0, s.hidden, TANH, room);
            meet();
        }
        stride = widest;
        return output((s.layers - 1) & 1, 0);
    }

    // From outputs of the last layer to the inputs of the output layer, in `list`; uses the lines, from number `next` on.
    void to_head(const float* y, int64_t stride, int64_t next) {
        const Shape& s = net.shape;
        int64_t inputs = s.hidden;
        for (int64_t k = 0; k < s.after + (net.projection.start != nullptr); ++k, ++next) {
            const Layer& layer = k < s.after ? net.after[k] : net.projection;
            const int64_t columns = k < s.after ? s.hidden : s.head;
            for (int64_t r = 0; r < rows; ++r) {
                list[r] = row_of(y + r * stride, inputs, qx + r * widest);
                targets[r] = output(next & 1, r);
            }
            linear(layer, rows, share(layer.input.panels, me), share(layer.input.panels, me + 1), list, targets, 0, columns, k < s.after ? GELU : AS_IS, room);
            meet();
            y = output(next & 1, 0), stride = widest, inputs = columns;
        }
        for (int64_t r = 0; r < rows; ++r) list[r] = row_of(y + r * stride, inputs, qx + r * widest);
    }
    int64_t next_line() const { return net.shape.arch == WINDOW ? net.shape.layers : 0; }
};

constexpr int64_t GROUP_OF_ROWS = 96;  // together: their states stay in the cache

int64_t shared_bytes(const void* made, const Job& job) {
    return (Walk::shared_floats(*(const Net*)made, job.rows) + job.rows) * 4 + job.rows * 8 + 128;
}

void read_rows(Walk& walk, int64_t first) {
    const Job& job = walk.job;
    const Shape& s = walk.net.shape;
    walk.take(first);
    walk.meet();
    for (int64_t t = 0; t < job.steps; ++t) {
        int64_t stride;
        const float* y = walk.step(job.ids + first * job.steps + t, job.steps, t + 1 == job.steps, stride);
        if (job.y && !walk.me)
            for (int64_t r = 0; r < walk.rows; ++r) memcpy(job.y + ((first + r) * job.steps + t) * s.hidden, y + r * stride, s.hidden * 4);
        // What the others write next is not what is being copied: states alternate, and a window's lines are met before.
        if (s.arch == WINDOW) walk.meet();
    }
    walk.meet();
    walk.give(first);
}

void generate_rows(Walk& walk, int64_t first, int64_t* chosen, double* work) {
    Job& job = walk.job;
    const Shape& s = walk.net.shape;
    const int64_t panels = walk.net.output.input.panels;
    walk.take(first);
    walk.meet();
    for (int64_t t = 0; t < job.steps; ++t) {
        if (!walk.me) {
            // Only with rows that nobody else walks; the others of a team read it after the meeting.
            if (t && job.halt && walk.rows == job.rows && __atomic_load_n(job.halt, __ATOMIC_ACQUIRE)) job.done = t;
            for (int64_t r = 0; t < job.done && r < walk.rows; ++r) {
                const int64_t row = first + r;
                chosen[r] = draw(job.logits + row * s.vocab, s.vocab, job.temperature[row], job.top_k[row], job.top_p[row], job.min_p[row],
                                 job.never, job.uniforms[row * job.steps + t], job.nats + row * job.steps + t, work);
                job.drawn[row * job.steps + t] = chosen[r];
            }
        }
        walk.meet();
        if (t == job.done) break;
        int64_t stride;
        const float* y = walk.step(chosen, 1, t + 1 == job.steps, stride);
        walk.to_head(y, stride, walk.next_line());
        for (int64_t r = 0; r < walk.rows; ++r) walk.targets[r] = job.logits + (first + r) * s.vocab;
        linear(walk.net.output, walk.rows, walk.share(panels, walk.me), walk.share(panels, walk.me + 1), walk.list, walk.targets, 0, s.vocab, AS_IS, walk.room);
        walk.meet();
    }
    walk.give(first);
}

constexpr int64_t COLUMNS = 16 * 4 * LANES;  // of logits at a time: they stay in the cache

void head_rows(Walk& walk, int64_t first, float* block, double* tops, double* sums) {
    Job& job = walk.job;
    const Shape& s = walk.net.shape;
    walk.to_head(job.y + first * s.hidden, s.hidden, 0);
    for (int64_t r = 0; r < walk.rows; ++r) tops[r] = -1e300, sums[r] = 0;
    for (int64_t from = 0; from < s.vocab; from += COLUMNS) {
        const int64_t to = from + COLUMNS < s.vocab ? from + COLUMNS : s.vocab;
        for (int64_t r = 0; r < walk.rows; ++r) walk.targets[r] = job.logits ? job.logits + (first + r) * s.vocab + from : block + r * COLUMNS;
        linear(walk.net.output, walk.rows, from / (4 * LANES), up(to, 4 * LANES) / (4 * LANES), walk.list, walk.targets, from, to, AS_IS, walk.room);
        if (!job.targets) continue;
        for (int64_t r = 0; r < walk.rows; ++r) {
            const float* x = walk.targets[r];
            float top = x[0];
            for (int64_t k = 1; k < to - from; ++k) top = x[k] > top ? x[k] : top;
            double total = 0;
            int64_t k = 0;
            for (; k + LANES <= to - from; k += LANES) {
                const vf e = exp_of(load(x + k) - top);
                float part = 0;
                for (int lane = 0; lane < LANES; ++lane) part += e[lane];
                total += part;
            }
            if (k < to - from) {
                vf last = set1(-1e30f);
                for (int64_t i = k; i < to - from; ++i) last[i - k] = x[i];
                const vf e = exp_of(last - top);
                for (int64_t i = k; i < to - from; ++i) total += e[i - k];
            }
            if (top != top) total = top;  // what is not a number stays so
            if (top > tops[r]) sums[r] = sums[r] * __builtin_exp(tops[r] - top) + total, tops[r] = top;
            else sums[r] += total * __builtin_exp(top - tops[r]);
            const int64_t target = job.targets[first + r];
            if (target >= from && target < to) job.nats[first + r] = -(double)x[target - from];
        }
    }
    if (job.targets)
        for (int64_t r = 0; r < walk.rows; ++r) job.nats[first + r] += tops[r] + __builtin_log(sums[r]);
}

void work(const void* made, Job& job, int thread, int threads) {
    const Net& net = *(const Net*)made;
    const bool together = job.rows < threads && job.kind != HEAD;
    const int64_t from = together ? 0 : job.rows * thread / threads, to = together ? job.rows : job.rows * (thread + 1) / threads;
    const int64_t group = together ? job.rows : to - from < GROUP_OF_ROWS ? to - from : GROUP_OF_ROWS;
    if (!group) return;
    const int64_t shared = together ? 0 : up(Walk::shared_floats(net, group) * 4, 64), own = up(Walk::own_bytes(net, group), 64);
    const int64_t spare = job.kind == HEAD ? up(group * COLUMNS * 4, 64) + group * 16 : job.kind == GENERATE ? group * 8 + net.shape.vocab * 16 : 0;
    char* memory = (char*)allocate(shared + own + spare + 64);
    if (!memory) __atomic_store_n(&job.failed, 1, __ATOMIC_SEQ_CST);
    if (together) wait(job.barrier);
    if (__atomic_load_n(&job.failed, __ATOMIC_SEQ_CST) && together) return free(memory);
    if (!memory) return;
    char* extra = memory + shared + own;
    for (int64_t first = from; first < to; first += group) {
        const int64_t rows = to - first < group ? to - first : group;
        Walk walk(net, job, rows, together ? thread : 0, together ? threads : 1, together ? (float*)job.shared : (float*)memory, memory + shared);
        if (job.kind == READ) read_rows(walk, first);
        else if (job.kind == GENERATE) {
            int64_t* chosen = together ? (int64_t*)((char*)job.shared + up(Walk::shared_floats(net, job.rows) * 4, 64)) : (int64_t*)extra;
            generate_rows(walk, first, chosen, (double*)(extra + group * 8));
        } else head_rows(walk, first, (float*)extra, (double*)(extra + up(group * COLUMNS * 4, 64)), (double*)(extra + up(group * COLUMNS * 4, 64)) + group);
    }
    free(memory);
}

}  // namespace

#if defined(__AVX512VNNI__)
#define NAME unroll_vnni
static int supported() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni"); }
#elif LANES == 16
#define NAME unroll_avx512
static int supported() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"); }
#elif LANES == 8
#define NAME unroll_avx2
static int supported() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#elif defined(__aarch64__)
#define NAME unroll_neon
static int supported() { return 1; }  // every such processor has it
#else
#define NAME unroll_plain
static int supported() { return 1; }
#endif
#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
extern "C" const Kernels NAME = {TEXT(NAME) + 7, supported, make_net, free_net, work, shared_bytes};
