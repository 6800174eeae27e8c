"""Flat frozen dataclasses to and from mappings, TOML and settings; an unknown key names the nearest one."""

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from unroll.errors import UserError, did_you_mean
from unroll.files import unreadable

T = TypeVar("T")


def to_mapping(config: Any) -> dict[str, Any]:
    """Return the fields of a flat dataclass as a mapping; None is left out, as TOML has no null."""
    return {f.name: value for f in dataclasses.fields(config) if (value := getattr(config, f.name)) is not None}


def from_mapping(cls: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Build the dataclass `cls` from a mapping; `where` names its origin in errors.

    Raises UserError for an unknown key (with the nearest known one) and for a value of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in mapping.items():
        if key not in hints:
            raise unknown_key(key, list(hints), where)
        values[key] = check(value, hints[key], f"{key} in {where}")
    try:
        return cls(**values)
    except TypeError as error:
        raise UserError(
            f"incomplete {where}: {error}", allowed=", ".join(sorted(hints)), fix="add the missing keys"
        ) from None


def unknown_key(key: str, keys: list[str], where: str) -> UserError:
    """Return the error for an unknown key."""
    return UserError(
        f"unknown key '{key}' in {where}",
        allowed=", ".join(sorted(keys)),
        fix=did_you_mean(key, keys, "remove it"),
    )


def parse_value(text: str, hint: Any, where: str) -> Any:
    """Turn the text of a flag into a value of the type `hint`, by TOML's rules.

    For a string the text is taken as it stands, also 42 or a bare word, unless it is quoted.
    """
    try:
        table = tomllib.loads(f"value = {text.strip()}")
    except (tomllib.TOMLDecodeError, RecursionError):
        table = {}
    quoted = isinstance(table.get("value"), str)
    if len(table) != 1 or (hint is str and not quoted):
        return check(text if hint is str else text.strip(), hint, where)
    return check(table["value"], hint, where)


EXAMPLES = {int: "128", float: "0.1", bool: "true or false", str: '"text"', dict: "a table", list: "a list"}


def check(value: Any, hint: Any, where: str) -> Any:
    """Return a value of the type `hint`, a whole number also as a float; raises UserError for any other value."""
    if isinstance(hint, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        if value is None or (value == "none" and type(None) in typing.get_args(hint)):
            return None
        hint = options[0]
    if typing.get_origin(hint) is typing.Literal:
        if value not in typing.get_args(hint):
            choices = list(map(str, typing.get_args(hint)))
            fix = did_you_mean(str(value), choices, "choose one of them")
            raise UserError(f"{where} is {value!r}", allowed=", ".join(choices), fix=fix)
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise UserError(
                f"{where} is too large for a float", allowed="a value of type float", fix="write a smaller number"
            ) from None
    if isinstance(value, bool) != (hint is bool) or not isinstance(value, hint):
        raise UserError(
            f"{where} is {'missing' if value is None else repr(value)}",
            allowed=f"a value of type {hint.__name__}",
            fix=f"write {'' if hint in (bool, dict, list) else 'for example '}{EXAMPLES[hint]}",
        )
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises UserError when it is missing or is not TOML."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise unreadable(path, error) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not TOML: {error}", fix="see recipes/ for examples") from None


def toml_of(tables: Mapping[str, Any]) -> bytes:
    """Return nested mappings as the content of a TOML file."""
    import tomli_w  # --help needs none

    return tomli_w.dumps(tables).encode("utf-8")


Settings = Mapping[str, object] | Sequence[str]
"""Keys and their values, as a mapping or as `KEY=VALUE`; a key of a recipe may name its table (`model.dropout`)."""


def setting_pairs(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield keys and their values as TOML."""
    if isinstance(settings, Mapping):
        yield from (
            (key, json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")) for key, value in settings.items()
        )
        return
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"'{setting}' is not a setting", allowed="KEY=VALUE", fix=f"write for example {setting}=1")
        yield key.strip(), value
