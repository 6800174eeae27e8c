"""Train recurrent language models on your own text in minutes on a laptop, and watch them learn."""

__version__ = "0.1.0"
