"""The engine: a network stepped on a CPU without torch, by kernels of our own or by numpy."""
