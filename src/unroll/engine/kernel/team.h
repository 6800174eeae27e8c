// The threads that help with a call: started once, they wait for the next one. And where threads wait for each other.
#pragma once

// Calls work(argument, thread, threads) once for each thread, 0 here and the others on helpers; returns when all are done.
// `prepare` gets their number before: at most `wanted`, and fewer where the system refuses a thread or another call has the
// helpers; where it returns false, `work` is not called. Returns what it returned.
bool with_team(int wanted, bool (*prepare)(void* argument, int threads), void (*work)(void* argument, int thread, int threads),
               void* argument);

// Where the threads of a team wait until all have arrived: they spin for a moment, then leave the core to whoever needs it.
// Begins as {threads, 0, 0}. (The training kernel, nn/kernel/lstm.cpp, has its own: a library apart, with OpenMP's threads.)
struct Barrier {
    int threads, arrived, phase;
};
void wait(Barrier& barrier);
