"""Models of the tasks' own tests."""

from tasks.sequences.conftest import sides, slopes, table
from tasks.tag.conftest import characters, file

__all__ = ["characters", "file", "sides", "slopes", "table"]
