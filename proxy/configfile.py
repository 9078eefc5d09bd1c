"""Reading config.toml: environment variables, types, and every problem reported at once."""

from __future__ import annotations

import difflib
import re
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from proxy.config import Config, PluginSettings, Section
from proxy.configrules import find_problems
from proxy.errors import ConfigError, Problem

_S = TypeVar("_S", bound=Section)
_VARIABLE: Final = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")


class FromEnvironment(str):
    """A value that came out of a variable: it may stand for a number or a boolean too."""

    __slots__ = ()


def load_config(path: Path, environment: Mapping[str, str]) -> Config:
    """The config of a file.

    Raises:
        ConfigError: with every problem there is, each with its key.

    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        mend = "name another with -c, or start from the config.toml of the repository"
        raise ConfigError(Problem(str(path), "", "there is no such file", mend)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(Problem(str(path), "", f"cannot be read: {error}")) from None
    except tomllib.TOMLDecodeError as error:
        mend = "see https://toml.io for the format"
        raise ConfigError(Problem(str(path), "", f"is not TOML: {error}", mend)) from None
    return read_config(table, environment, path)


def read_config(table: dict[str, Any], environment: Mapping[str, str], path: Path) -> Config:
    """As `load_config`, from a table already parsed."""
    problems: list[Problem] = []
    expanded = _expand(table, "", environment, str(path), problems)
    config = _section(Config, expanded, "", str(path), problems)
    problems += find_problems(config, str(path))
    problems += _folder_problems(config, path)
    if problems:
        raise ConfigError(*problems)
    return config


def _folder_problems(config: Config, path: Path) -> list[Problem]:
    """The default folder may be missing; one that was chosen may not."""
    directory = config.plugins.directory
    if directory == PluginSettings().directory or (path.parent / directory).is_dir():
        return []
    mend = f"create {path.parent / directory}, or leave the key out"
    return [Problem(str(path), "plugins.directory", f"there is no folder {directory!r}", mend)]


def _expand(
    value: Any, key: str, environment: Mapping[str, str], file: str, problems: list[Problem]
) -> Any:
    """`value` with every `${NAME}` and `${NAME:-default}` replaced."""
    if isinstance(value, dict):
        return {
            name: _expand(inner, f"{key}.{name}" if key else name, environment, file, problems)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [
            _expand(inner, f"{key}[{index}]", environment, file, problems)
            for index, inner in enumerate(value)
        ]
    if not isinstance(value, str) or "${" not in value:
        return value
    if "${" in _VARIABLE.sub("", value):
        mend = "write ${NAME} or ${NAME:-default}"
        problems.append(Problem(file, key, "holds a ${ that names no variable", mend))

    def replace(match: re.Match[str]) -> str:
        found = environment.get(match["name"])
        if found is None and match["default"] is None:
            what = f"the environment variable {match['name']} is not set"
            mend = f"set it, or write ${{{match['name']}:-default}}"
            problems.append(Problem(file, key, what, mend))
        # As in a shell, ":-" replaces an empty variable too.
        return found or match["default"] or ""

    return FromEnvironment(_VARIABLE.sub(replace, value))


def _section(type_: type[_S], table: Any, key: str, file: str, problems: list[Problem]) -> _S:
    """`table` as a Struct, field by field, so that one wrong value does not hide the next: what
    is wrong gets its default, or where there is none, words that fit nothing else.
    """
    if not isinstance(table, dict):
        problems.append(Problem(file, key, "must be a table", f"write [{key}] above its keys"))
        table = {}
    fields = {field.name: field for field in msgspec.structs.fields(type_)}
    values: dict[str, Any] = {}
    for name, value in table.items():
        place = f"{key}.{name}" if key else name
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            mend = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(fields)}"
            problems.append(Problem(file, place, "unknown key", mend))
            continue
        try:
            values[name] = _value(fields[name], value, place, file, problems)
        except msgspec.ValidationError as error:
            what = str(error).replace(" - at `$", f" - at `{place}")
            problems.append(Problem(file, place, what, _example(fields[name])))
    for name, field in fields.items():
        if field.required and name not in values:
            place = f"{key}.{name}" if key else name
            values[name] = f"<{place}>"
            if name not in table:
                problems.append(Problem(file, place, "is missing", "every source needs it"))
    return type_(**values)


def _value(
    field: msgspec.structs.FieldInfo, value: Any, key: str, file: str, problems: list[Problem]
) -> Any:
    type_ = field.type
    if isinstance(type_, type) and issubclass(type_, Section):
        return _section(type_, value, key, file, problems)
    inner = typing.get_args(type_)[:1]
    if inner and isinstance(inner[0], type) and issubclass(inner[0], Section):
        if not isinstance(value, list):
            problems.append(Problem(file, key, "must be a list of tables", f"write [[{key}]]"))
            value = []
        return tuple(
            _section(inner[0], each, f"{key}[{index}]", file, problems)
            for index, each in enumerate(value)
        )
    if not isinstance(value, FromEnvironment):
        return msgspec.convert(_plain(value), type_)
    try:
        return msgspec.convert(str(value), type_)
    except msgspec.ValidationError:
        return msgspec.convert(str(value), type_, strict=False)


def _plain(value: Any) -> Any:
    """Inside lists and tables what came out of a variable is text like any other."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, FromEnvironment) else value


def _example(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return f'write {field.name} = "..."'
    if field.default is msgspec.NODEFAULT:  # only [plugins.settings] is made anew each time
        return f'write [plugins.{field.name}."NAME OF THE PLUGIN"] above its keys'
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"for example: {field.name} = {msgspec.json.encode(default).decode()}"
