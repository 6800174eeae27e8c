// The threads that help with a call: started once, they wait for the next one.
#pragma once

// Calls work(argument, thread, threads) once for each thread, 0 here and the others on helpers; returns when all are done.
// `prepare` is told before how many there are: at most `wanted`, and fewer where the system refuses a thread or another call
// has the helpers; where it gives false, nothing is called. Returns what it gave.
bool with_team(int wanted, bool (*prepare)(void* argument, int threads), void (*work)(void* argument, int thread, int threads), void* argument);

// Lets the processor breathe in a loop that waits, and from some number of turns on lets others run.
void pause_for(int turns);
