"""A settings file becomes settings: every value is converted by itself, so that no problem hides the next."""

import difflib
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec

from dynafs.config.checks import check_sections
from dynafs.config.problems import Problems
from dynafs.config.sections import Section, Settings
from dynafs.errors import ConfigError
from dynafs.ring.names import excerpt

#: {environment variable: the section and the field that it overrides}
ENVIRONMENT = {"DYNAFS_CLUSTER_SECRET": ("cluster", "secret"), "DYNAFS_HTTP_TOKEN": ("http", "token")}
FILE_SIZE_BYTES_MAX = 4 << 20
#: Of TOML.
NUMBER_MAX = (1 << 63) - 1


def load_settings(path: Path, environment: Mapping[str, str]) -> Settings:
    """Return the checked settings of a TOML file; secrets in `environment` override the file's.

    Raises ConfigError listing every problem with its field.
    """
    raw = _read(path)
    for variable, (section, field) in ENVIRONMENT.items():
        table = raw.setdefault(section, {})
        if (value := environment.get(variable)) and isinstance(table, dict):
            table[field] = value
    return parse_settings(raw)


def parse_settings(raw: Mapping[str, object]) -> Settings:
    """Return the checked settings of tables as TOML has them. Raises ConfigError listing every problem."""
    problems = Problems()
    settings: Settings = _section(Settings, raw, "", problems)
    check_sections(settings, problems)
    problems.raise_if_any()
    return settings


def exposed_secrets(path: Path) -> list[str]:
    """Return the secrets that stand in a settings file which every user of the machine can read."""
    if not path.stat().st_mode & stat.S_IROTH:
        return []
    raw = _read(path)
    return [f"{name}.{field}" for name, field in ENVIRONMENT.values() if raw.get(name, {}).get(field)]


def _read(path: Path) -> dict[str, Any]:
    """Return the tables of a file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_SIZE_BYTES_MAX + 1)
        if len(data) > FILE_SIZE_BYTES_MAX:
            raise ConfigError([f"{path}: no settings file is larger than {FILE_SIZE_BYTES_MAX} bytes"])
        return tomllib.loads(data.decode())
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8: byte {error.start} is {error.object[error.start]:#x}"]) from None
    except (ValueError, RecursionError) as error:
        # ValueError: of TOML, and of numbers with thousands of digits.
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None


def _section(kind: type[Any], raw: object, path: str, problems: Problems) -> Any:
    """Return a section, with defaults or "" in place of what is wrong or missing; that is noted."""
    if not isinstance(raw, Mapping):
        problems.add(path, f"use a table, not {raw!r:.40}")
        raw = {}
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for name in raw.keys() - fields.keys():
        near = difflib.get_close_matches(name, fields, 1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(fields)}"
        problems.add(_at(path, name if name.isprintable() else excerpt(name)), f"unknown setting; {hint}")
    values = {}
    for name, field in fields.items():
        where = _at(path, name)
        if name in raw:
            values[name] = _value(field.type, raw[name], where, problems)
        elif field.required and _is_section(field.type):
            values[name] = _section(field.type, {}, where, problems)
        elif field.required:
            problems.add(where, "is missing")
        if field.required and values.get(name) is None:
            values[name] = ""
    return kind(**{name: value for name, value in values.items() if value is not None})


def _value(kind: Any, raw: object, where: str, problems: Problems) -> object:
    """Return a value of its type, None when it has another one; ranges are judged later."""
    if _is_section(kind):
        return _section(kind, raw, where, problems)
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is tuple and _is_section(item := get_args(kind)[0]) and isinstance(raw, list):
        return tuple(_section(item, one, f"{where} {number}", problems) for number, one in enumerate(raw, 1))
    if isinstance(raw, int) and not -NUMBER_MAX <= raw <= NUMBER_MAX:
        problems.add(where, f"numbers go to {NUMBER_MAX}")
        return None
    try:
        found: object = msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        problems.add(where, str(error).replace(" - at `$", " - at item `"))
        return None
    return found


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
