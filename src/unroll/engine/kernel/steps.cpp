// The three kinds of jobs on one instruction set: this file is compiled once for each, see hatch_build.py.
//
// A unit's sum runs over its inputs in order, one fused multiply-add each, whatever the number of rows and threads: so a row's
// result never depends on its neighbours, bit for bit. Nothing here may come from a header whose code is not in the
// unnamed namespace (the linker would merge copies made for different processors).
#include "rows.h"

namespace {

constexpr int64_t GROUP_OF_ROWS = 96;  // together: their states stay in the cache

int64_t shared_bytes(const void* net, const Job& job) {
    return (Rows::shared_floats(*(const Net*)net, job.rows) + job.rows) * 4 + job.rows * 8 + 128;
}

void read_rows(Rows& rows, int64_t first) {
    const Job& job = rows.job;
    const Shape& s = rows.net.shape;
    const Span* const spans = job.spans + first;
    const int64_t longest = spans[0].length;
    for (int64_t r = 0; job.last && !rows.thread && r < rows.count; ++r)
        if (!spans[r].length) memset(job.last + spans[r].row * job.apart, 0, s.hidden * 4);
    rows.load_state(first);
    rows.meet();
    for (int64_t t = 0; t < longest; ++t) {
        while (spans[rows.active - 1].length <= t) --rows.active;
        rows.look_up_all(spans, t);
        int64_t stride;
        const float* y = rows.step(t + 1 == longest, stride);
        for (int64_t r = 0; !rows.thread && r < rows.active; ++r) {
            const Span& span = spans[r];
            if (job.y) memcpy(job.y + rows.place(span, t) * job.apart, y + r * stride, s.hidden * 4);
            if (job.last && t + 1 == span.length) memcpy(job.last + span.row * job.apart, y + r * stride, s.hidden * 4);
        }
        // What the others write next is not what is being copied: states alternate, and a window's lines are met before.
        if (s.arch == WINDOW) rows.meet();
    }
    rows.meet();
    rows.save_state(first);
}

void generate_rows(Rows& rows, int64_t first, int64_t* ids, double* work) {
    Job& job = rows.job;
    const int64_t vocab = rows.net.shape.vocab;
    rows.load_state(first);
    rows.meet();
    for (int64_t t = 0; t < job.steps; ++t) {
        if (!rows.thread) {
            // Only where these are all rows of the job; the others of a team read it after they have met.
            if (t && job.halt && rows.count == job.rows && __atomic_load_n(job.halt, __ATOMIC_ACQUIRE)) job.done = t;
            for (int64_t r = 0; t < job.done && r < rows.count; ++r) {
                const int64_t row = first + r, at = row * job.steps + t;
                ids[r] = draw(job.logits + row * vocab, vocab, job.temperature[row], job.top_k[row], job.top_p[row],
                              job.min_p[row], job.never, job.uniforms[at], job.nats + at, work);
                job.drawn[at] = ids[r];
            }
        }
        rows.meet();
        if (t == job.done) break;
        for (int64_t r = 0; r < rows.count; ++r) rows.look_up(r, ids[r]);
        int64_t stride;
        const float* y = rows.step(t + 1 == job.steps, stride);
        rows.prepare_output(y, stride, rows.next_line());
        for (int64_t r = 0; r < rows.count; ++r) rows.outputs[r] = job.logits + (first + r) * vocab;
        rows.step_linear(rows.net.output, vocab, AS_IS);
    }
    rows.save_state(first);
}

constexpr int64_t BLOCK = 16 * 4 * LANES;  // columns of logits at a time: they stay in the cache

// Sum of e^(x - top) over n logits, whose largest is `top`.
double sum_of_exp(const float* x, int64_t n, float top) {
    if (top != top) return top;  // what is not a number stays so
    double total = 0;
    int64_t k = 0;
    for (; k + LANES <= n; k += LANES) {
        const vf e = exp_of(load(x + k) - top);
        float part = 0;
        for (int lane = 0; lane < LANES; ++lane) part += e[lane];
        total += part;
    }
    if (k < n) {
        vf last = set1(-1e30f);
        for (int64_t i = k; i < n; ++i) last[i - k] = x[i];
        const vf e = exp_of(last - top);
        for (int64_t i = k; i < n; ++i) total += e[i - k];
    }
    return total;
}

// Logits, or the nats of targets: -ln softmax(logits)[target], with the largest logit so far in `tops` and the sum of
// e^(logit - largest) in `totals`.
void head_rows(Rows& rows, int64_t first, float* block, double* tops, double* totals) {
    Job& job = rows.job;
    const Shape& s = rows.net.shape;
    rows.prepare_output(job.y + first * s.hidden, s.hidden, 0);
    for (int64_t r = 0; r < rows.count; ++r) tops[r] = -1e300, totals[r] = 0;
    for (int64_t from = 0; from < s.vocab; from += BLOCK) {
        const int64_t to = from + BLOCK < s.vocab ? from + BLOCK : s.vocab;
        const int64_t first_panel = from / (4 * LANES), last_panel = up(to, 4 * LANES) / (4 * LANES);
        for (int64_t r = 0; r < rows.count; ++r)
            rows.outputs[r] = job.logits ? job.logits + (first + r) * s.vocab + from : block + r * BLOCK;
        linear(rows.net.output, rows.count, first_panel, last_panel, rows.linear_inputs, rows.outputs, Columns{from, to, AS_IS},
               rows.unpacked_panel);
        if (!job.targets) continue;
        for (int64_t r = 0; r < rows.count; ++r) {
            const float* x = rows.outputs[r];
            float top = x[0];
            for (int64_t k = 1; k < to - from; ++k) top = x[k] > top ? x[k] : top;
            const double total = sum_of_exp(x, to - from, top);
            if (top > tops[r]) totals[r] = totals[r] * __builtin_exp(tops[r] - top) + total, tops[r] = top;
            else totals[r] += total * __builtin_exp(top - tops[r]);
            const int64_t target = job.targets[first + r];
            if (target >= from && target < to) job.nats[first + r] = -(double)x[target - from];
        }
    }
    if (job.targets)
        for (int64_t r = 0; r < rows.count; ++r) job.nats[first + r] += tops[r] + __builtin_log(totals[r]);
}

// A thread has rows of its own, in groups, or it steps all rows together with the others of its team.
void work(const void* network, Job& job, int thread, int threads) {
    const Net& net = *(const Net*)network;
    const bool together = job.rows < threads && job.kind != HEAD;
    const int64_t from = together ? 0 : first_row(job.rows, thread, threads);
    const int64_t to = together ? job.rows : first_row(job.rows, thread + 1, threads);
    const int64_t group = together ? job.rows : to - from < GROUP_OF_ROWS ? to - from : GROUP_OF_ROWS;
    if (!group) return;
    const int64_t steps = job.kind == READ ? Ahead::steps_of(net, group, job.spans[from].length) : 0;
    const int64_t shared = together ? 0 : up(Rows::shared_floats(net, group) * 4, 64);
    const int64_t own = up(Rows::own_bytes(net, group, steps), 64);
    const int64_t block = up(group * BLOCK * 4, 64);
    const int64_t extra = job.kind == HEAD ? block + group * 16 : job.kind == GENERATE ? group * 8 + net.shape.vocab * 16 : 0;
    char* memory = (char*)allocate(shared + own + extra + 64);
    if (!memory) __atomic_store_n(&job.failed, 1, __ATOMIC_SEQ_CST);
    if (together) wait(job.barrier);
    if (__atomic_load_n(&job.failed, __ATOMIC_SEQ_CST) && together) return free(memory);
    if (!memory) return;
    float* const states = together ? (float*)job.shared : (float*)memory;
    char* const rest = memory + shared + own;
    for (int64_t first = from; first < to; first += group) {
        const int64_t count = to - first < group ? to - first : group;
        Rows rows(net, job, count, together ? thread : 0, together ? threads : 1, steps, states, memory + shared);
        if (job.kind == READ) read_rows(rows, first);
        else if (job.kind == GENERATE) {
            char* const ids = together ? (char*)job.shared + up(Rows::shared_floats(net, job.rows) * 4, 64) : rest;
            generate_rows(rows, first, (int64_t*)ids, (double*)(rest + group * 8));
        } else head_rows(rows, first, (float*)rest, (double*)(rest + block), (double*)(rest + block) + group);
    }
    free(memory);
}

}  // namespace

#define HAS(set) __builtin_cpu_supports(set)
#if LANES == 16
#define HAS_AVX512 (HAS("avx512f") && HAS("avx512bw") && HAS("avx512vl") && HAS("avx512dq"))
#endif
#if defined(__AVX512VNNI__)
#define NAME unroll_vnni
static int supported() { return HAS_AVX512 && HAS("avx512vnni"); }
#elif LANES == 16
#define NAME unroll_avx512
static int supported() { return HAS_AVX512; }
#elif LANES == 8
#define NAME unroll_avx2
static int supported() { return HAS("avx2") && HAS("fma"); }
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
