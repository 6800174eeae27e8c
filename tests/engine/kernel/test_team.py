"""The threads that help a call: what is computed never depends on them, and nothing goes wrong where there are none."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.networks import SETS, weights_of
from unroll.engine import native
from unroll.engine.draw import Drawing
from unroll.engine.network import Network
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model

KERNELS = Path(native.__file__).with_name("kernel")
pytestmark = pytest.mark.skipif(not SETS, reason="no kernels: there was no compiler when unroll was installed")


def sampled(network: Network, threads: int, rows: int = 1, steps: int = 40) -> NDArray[np.int64]:
    """Return the ids (B, N) sampled with `threads` threads."""
    kernel = network._kernel
    assert kernel is not None
    logits, state = np.zeros((rows, network.vocab_size), np.float32), network.fresh_state(rows)
    numbers = np.random.default_rng(0).random((rows, steps))
    return kernel.generate(logits, [part for layer in state for part in layer], Drawing(), numbers, threads)[0]


def small_network() -> Network:
    model = Model(ModelConfig(vocab_size=30, hidden_size=48, embedding_size=8, num_layers=2))
    return Network(model.config, {name: 3 * weight for name, weight in weights_of(model).items()}, kernel=SETS[0])


def test_calls_at_the_same_time_share_the_helpers_and_change_nothing() -> None:
    network = small_network()
    expected = {rows: sampled(network, 1, rows) for rows in (1, 2, 7)}
    failures: list[int] = []

    def call(number: int) -> None:
        for turn in range(60):
            rows = (1, 2, 7)[(number + turn) % 3]
            if not np.array_equal(sampled(network, 1 + (number + turn) % 4, rows), expected[rows]):
                failures.append(number)

    callers = [threading.Thread(target=call, args=[number]) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not failures


RUN = """
import os, resource, signal, sys
import numpy as np
from engine.kernel.test_team import sampled, small_network

network, condition = small_network(), sys.argv[1]
expected = sampled(network, 1)
if condition == "refused":  # a thread's stack does not fit
    used = int(open("/proc/self/statm").read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**19, used + 2**19))
    before = len(os.listdir("/proc/self/task"))
    assert np.array_equal(sampled(network, 2), expected)
    assert len(os.listdir("/proc/self/task")) == before
elif condition == "forked":  # the child has no helpers, and may have inherited the lock of a call
    assert np.array_equal(sampled(network, 2), expected)
    child = os.fork()
    if not child:
        signal.alarm(30)
        os._exit(0 if np.array_equal(sampled(network, 3), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
elif condition == "interrupted":  # a signal reaches the thread that Python waits for it in
    assert np.array_equal(sampled(network, 2), expected)
    for task in os.listdir("/proc/self/task"):
        if int(task) != os.getpid():
            lines = open(f"/proc/self/task/{task}/status").read().splitlines()
            blocked = next(int(line.split()[1], 16) for line in lines if line.startswith("SigBlk"))
            assert blocked >> (signal.SIGINT - 1) & 1
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", ["refused", "forked", "interrupted"])
def test_a_process_without_helpers_does_without(case: str) -> None:
    environment = {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.run([sys.executable, "-c", RUN, case], env=environment, capture_output=True, text=True)
    assert process.stdout == "done\n", process.stderr[-2000:]


DRIVER = """
#include "team.h"
#include <atomic>
#include <cstdio>
#include <thread>
#include <vector>

struct Sum { long parts[8]; int threads; };
static bool prepare(void* sum, int threads) { ((Sum*)sum)->threads = threads; return true; }
static void work(void* sum, int thread, int threads) { ((Sum*)sum)->parts[thread] += thread + 1 + 0 * threads; }

int main() {
    std::atomic<long> helped{0};
    std::vector<std::thread> callers;
    for (int number = 0; number < 3; ++number)
        callers.emplace_back([&helped, number] {
            for (int turn = 0; turn < 4000; ++turn) {
                Sum sum{};
                with_team(1 + (turn + number) % 5, prepare, work, &sum);
                long total = 0;
                for (int t = 0; t < 8; ++t) total += sum.parts[t];
                if (total != sum.threads * (sum.threads + 1) / 2) std::puts("a share is missing"), std::exit(1);
                helped += sum.threads > 1;
                if (turn % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));  // helpers fall asleep
            }
        });
    for (std::thread& caller : callers) caller.join();
    std::puts(helped ? "helped" : "never helped");
}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to build it with the sanitizer")
def test_the_team_has_no_races(tmp_path: Path) -> None:
    """Under the thread sanitizer."""
    (tmp_path / "driver.cpp").write_text("#include <cstdlib>\n#include <chrono>\n" + DRIVER)
    flags = ["-O1", "-g", "-std=c++17", "-fsanitize=thread", f"-I{KERNELS}", "-pthread"]
    program = tmp_path / "driver"
    files = [str(tmp_path / "driver.cpp"), str(KERNELS / "team.cpp")]
    subprocess.run(["g++", *flags, *files, "-o", str(program)], check=True)
    process = subprocess.run([program], capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (0, "helped\n"), process.stdout + process.stderr[-3000:]
