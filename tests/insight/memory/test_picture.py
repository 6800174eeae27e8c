"""The picture of memories shows the numbers and is the same each time."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np

from unroll.insight.memory.measure import Memory
from unroll.insight.memory.picture import main_picture


def test_the_picture_is_of_the_numbers_and_the_same_each_time(several: Memory) -> None:
    first = main_picture(several, ".svg")
    assert first == main_picture(several, ".svg") and main_picture(several, ".png").startswith(b"\x89PNG")
    tree = ElementTree.fromstring(first)
    points = [[float(value) for value in re.findall(r"-?\d+\.?\d*", line.get("d", ""))]
             for line in tree.iter("{http://www.w3.org/2000/svg}path")]  # fmt: skip
    # Of the lines with as many points as there are contexts, heights are those of the losses but for scale.
    lines = [np.array(line).reshape(-1, 2)[:, 1] for line in points if len(line) == 2 * len(several.models[0].losses)]
    for report in several.models:
        shape = (report.losses - report.losses.min()) / np.ptp(report.losses)
        assert any(np.allclose((line.max() - line) / np.ptp(line), shape, atol=1e-5) for line in lines if np.ptp(line))
    changed = replace(
        several, models=(replace(several.models[0], nats=several.models[0].nats + 0.5), *several.models[1:])
    )
    assert main_picture(changed, ".svg") != first
