"""The labels that steer a language model: their names and numbers in model.json, their start states in its weights."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.tables import listed
from unroll.engine.weights import read_tensors
from unroll.errors import UserError, nearest
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import ModelConfig
from unroll.settings import check
from unroll.state import State, map_state

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """A column of labels: its name, its labels by their ids, and how many texts for training have each."""

    name: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Steering:
    """What model.json says of the labels that steer a model, and of the columns that its texts were read from."""

    text_columns: tuple[str, ...]
    columns: tuple[Column, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as model.json has it; undone by `read_steering`."""
        return asdict(self)

    def ids(self, labels: Sequence[str]) -> Ids:
        """Return the id of each column's label (columns,), -1 where none is named.

        A label is `LABEL` or, where several columns have it, `COLUMN=LABEL`. Raises UserError, with the nearest label.
        """
        ids = np.full(len(self.columns), -1)
        for label in labels:
            places = [
                (k, column.labels.index(label)) for k, column in enumerate(self.columns) if label in column.labels
            ]
            name, _, value = label.partition("=")
            if not places:
                columns = [(k, column) for k, column in enumerate(self.columns) if column.name == name]
                places = [(k, column.labels.index(value)) for k, column in columns if value in column.labels]
            if not places:
                raise self._unknown(label)
            if len(places) > 1:
                names = [f"{self.columns[k].name}={label}" for k, _ in places]
                raise UserError(
                    f"{label!r} is a label of {len(places)} columns", allowed=", ".join(names), fix=f"write {names[0]}"
                )
            ((column, id),) = places
            if ids[column] >= 0:
                raise UserError(
                    f"two labels of the column {self.columns[column].name!r} are named",
                    allowed="one of each column",
                    fix="leave one out",
                )
            ids[column] = id
        return ids

    def _unknown(self, label: str) -> UserError:
        names = {name: name for column in self.columns for name in column.labels}
        names |= {f"{column.name}={name}": f"{column.name}={name}" for column in self.columns for name in column.labels}
        folded = {name.casefold(): name for name in names}
        near = nearest(label.casefold(), folded)
        return UserError(
            f"the model has no label {label!r}",
            allowed="; ".join(f"{column.name}: {listed(column.labels)}" for column in self.columns),
            fix=f"did you mean {folded[near]!r}?" if near else "choose one of them",
        )


def read_steering(description: dict[str, Any], place: str) -> Steering | None:
    """Return the labels in the content of model.json; None of a model that none steer. Raises UserError."""
    if (steering := description.get("steering")) is None:
        return None
    check(steering, dict, f"steering in {place}")
    columns = []
    for column in _list(steering.get("columns"), dict, f"the columns in {place}"):
        name = check(column.get("name"), str, f"the name of a column in {place}")
        labels = _list(column.get("labels"), str, f"the labels of {name!r} in {place}")
        counts = _list(column.get("counts"), int, f"the counts of {name!r} in {place}")
        if not labels or len({*labels}) != len(labels) or len(counts) != len(labels) or min(counts) < 1:
            raise UserError(
                f"the labels of {name!r} in {place} and their counts do not fit each other",
                allowed="different labels, and for each of them how many texts have it",
                fix="restore it, or train again",
            )
        columns.append(Column(name, labels, counts))
    return Steering(_list(steering.get("text_columns"), str, f"text_columns in {place}"), tuple(columns))


def _list(values: Any, kind: type, where: str) -> tuple[Any, ...]:
    return tuple(check(value, kind, where) for value in check(values, list, where))


@dataclass(frozen=True)
class Starts:
    """The start states of all labels."""

    steering: Steering
    tables: tuple[State, ...]
    """Of each column: a state with one row for each label."""

    def state(self, ids: Ids) -> State:
        """Return the state that rows with these labels (B, columns) start from; -1 names none, and adds nothing."""
        chosen = [
            map_state(lambda table, rows=rows: np.pad(table, ((1, 0), (0, 0)))[rows + 1], table)
            for rows, table in zip(ids.T, self.tables, strict=True)
        ]
        return map_state(lambda *parts: sum(parts[1:], parts[0]), *chosen)


def shapes_of(config: ModelConfig, steering: Steering) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the tables in weights.safetensors."""
    return {
        f"start.{number}.{layer}.{part}": (len(column.labels), config.hidden_size)
        for number, column in enumerate(steering.columns)
        for layer in range(config.num_layers)
        for part in ARCHITECTURES[config.arch].state
    }


def count_of(config: ModelConfig, steering: Steering) -> int:
    """Return how many weights the tables have."""
    return sum(rows * width for rows, width in shapes_of(config, steering).values())


def read_starts(file: Path, config: ModelConfig, steering: Steering) -> Starts:
    """Read the tables from weights.safetensors; raises UserError where it is missing, damaged or of another model."""
    shapes = shapes_of(config, steering)
    tables = read_tensors(file, count_of(config, steering), lambda: shapes)
    parts, layers = ARCHITECTURES[config.arch].state, range(config.num_layers)
    return Starts(
        steering,
        tuple(
            tuple(tuple(tables[f"start.{number}.{layer}.{part}"] for part in parts) for layer in layers)
            for number in range(len(steering.columns))
        ),
    )
