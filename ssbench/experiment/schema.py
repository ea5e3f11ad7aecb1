"""The JSON schema of experiment files, for editors and programs, and the reference of their keys.

Made from `ssbench.experiment.spec.Experiment`, the fields of the methods, and the names of networks
and data sets. What depends on several keys at once is checked by ssbench alone.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import BaseModel, TypeAdapter

from ssbench.data.own.settings import DataSettings, Scale
from ssbench.data.registry import DATASETS, OWN
from ssbench.experiment.budget_spec import BudgetSpec
from ssbench.experiment.model_spec import ELSEWHERE, WEIGHT_FILES, ModelSpec
from ssbench.experiment.spec import Experiment, MethodSpec, TuneSpec
from ssbench.method.contract import Method
from ssbench.method.registry import MethodFile, Registry
from ssbench.models.from_timm import TIMM
from ssbench.models.registry import IMAGENET, MODELS, TORCHVISION
from ssbench.storage.view import View
from ssbench.training.recipe import Recipe

Schema = dict[str, Any]
TABLES: tuple[type[BaseModel], ...] = (
    Experiment,
    DataSettings,
    Scale,
    BudgetSpec,
    ModelSpec,
    MethodSpec,
    TuneSpec,
    View,
    Recipe,
)
METHOD = "method-"
"""The beginning of the names of the methods' definitions."""


def experiment_schema(registry: Registry, networks: Sequence[str] = ()) -> Schema:
    """Return the JSON schema (draft 2020-12) of experiment files that use these methods.

    Args:
        registry: of the methods.
        networks: names of networks that do not ship with ssbench, torchvision or timm.
    """
    found = _plain(Experiment.model_json_schema())
    definitions = found.pop("$defs") | {"Experiment": found}
    for table in TABLES:
        _describe(definitions[table.__name__]["properties"], attributes(table))
    definitions.pop("Experiment")
    common = definitions.pop("MethodSpec")["properties"]
    for name, file in registry.methods.items():
        definitions[METHOD + name] = _method(name, file, common)
    kept = {"exclusiveMinimum": 0, "maximum": 1}
    _each_number(
        definitions["BudgetSpec"]["properties"]["kept"], lambda number: number.update(kept)
    )
    names: list[Schema] = [{"enum": list(registry.methods)}]
    names += [{"$ref": f"#/$defs/{METHOD}{name}"} for name in registry.methods]
    own = found["properties"]
    own["methods"] |= {"anyOf": [{"const": "all"}, _list_of({"anyOf": names}) | {"minItems": 1}]}
    prefixed = _like(f"^({'|'.join(OWN)}).", *(f"{prefix}PATH" for prefix in OWN))
    function = _like(r"\.py:.", "FILE.py:FUNCTION")
    own["dataset"] |= {"anyOf": [{"enum": list(DATASETS)}, prefixed, function]}
    own["models"]["items"] = {"anyOf": [_networks(networks), {"$ref": "#/$defs/ModelSpec"}]}
    files = _like(_weights(), *(f"PATH{ending}" for ending in WEIGHT_FILES))
    own["start"] |= {"anyOf": [{"enum": list(ELSEWHERE)}, files]}
    found["required"] = [key for key in found["required"] if key != "name"]  # the file's name
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema",
             "title": "An experiment of ssbench"}  # fmt: skip
    return {**about, **found, "$defs": definitions}


def _networks(more: Sequence[str]) -> Schema:
    libraries = _like(f"^({TORCHVISION}|{TIMM}).", f"{TORCHVISION}NAME", f"{TIMM}NAME")
    others = [libraries, _like(r"\.py:.", "FILE.py:CLASS")]
    return {"type": "string", "anyOf": [{"enum": [*MODELS, *IMAGENET, *more]}, *others]}


def _like(pattern: str, *examples: str) -> Schema:
    """Return the schema of texts of a pattern, which its examples explain."""
    return {"pattern": pattern, "examples": list(examples)}


def _weights() -> str:
    return f"({'|'.join(map(re.escape, WEIGHT_FILES))})$"


def _method(name: str, file: MethodFile, common: Schema) -> Schema:
    """Return the schema of a table of ``methods`` that names this method."""
    own = {"name": {"const": name, "description": summary(file.cls)}}
    settings = {key: _setting(file.cls, key) for key in file.cls().settings}
    properties = common | own | settings
    return {
        "type": "object",
        "properties": properties,
        "required": ["name"],
        "additionalProperties": False,
    }


def _setting(cls: type[Method], key: str) -> Schema:
    """Return the schema of a hyper-parameter: one value, or a list of values to sweep."""
    field = next(each for each in fields(cls) if each.name.rstrip("_") == key)
    kind = _plain(TypeAdapter(get_type_hints(cls)[field.name]).json_schema())
    low, high, reason = cls.limits.get(key, (None, None, ""))
    if low is not None:
        _each_number(kind, lambda number: number.update(minimum=low, maximum=high))
    search = cls.search.get(key)
    said = [reason, f"tuned: {search}" if search else ""]
    return {
        "anyOf": [kind, _list_of(kind) | {"minItems": 1}],
        "default": cls().settings[key],
        "description": "; ".join(part for part in said if part),
    }


def summary(cls: type[Method]) -> str:
    """Return the first sentence of a method's docstring."""
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _each_number(schema: Any, change: Callable[[Schema], None]) -> None:
    """Call ``change`` with every part of a schema that describes a number."""
    if isinstance(schema, dict):
        if schema.get("type") in ("number", "integer"):
            change(schema)
        for part in schema.values():
            _each_number(part, change)
    elif isinstance(schema, list):
        for part in schema:
            _each_number(part, change)


def _plain(schema: Any) -> Any:
    """Leave out titles, which repeat the keys, and null, which TOML does not have."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: {name: _plain(part) for name, part in value.items()}
        if key in ("properties", "$defs")
        else _plain(value)
        for key, value in schema.items()
        if key not in ("title", "description") and not (key == "default" and value is None)
    }
    if "anyOf" in made:
        made["anyOf"] = [part for part in made["anyOf"] if part != {"type": "null"}]
        if len(made["anyOf"]) == 1:
            made |= made.pop("anyOf")[0]
    if isinstance(made.get("default"), dict):
        del made["default"]
    return made


def _describe(properties: Schema, meanings: dict[str, str]) -> None:
    for key, its in properties.items():
        if key in meanings:
            its["description"] = meanings[key]


def attributes(table: type[BaseModel]) -> dict[str, str]:
    """Return the meanings of a table's keys, from the section Attributes of its docstring."""
    section = (inspect.getdoc(table) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^ {4}(\w+): (.+(?:\n {5,}.+)*)", section, re.MULTILINE)
    plain = {key: " ".join(text.split()).replace("``", "`") for key, text in found}
    return {key: text.replace("None:", "left out:").rstrip(".") for key, text in plain.items()}


def reference(registry: Registry) -> str:
    """Write the keys of experiment files as Markdown."""
    schema = experiment_schema(registry)
    lines = ["| key | values | default | meaning |", "|:--|:--|:--|:--|", *_keys(schema)]
    for name, file in registry.methods.items():
        settings = schema["$defs"][METHOD + name]["properties"]
        own = [_line(key, _single(settings[key])) for key in file.cls().settings]
        if own:
            head = ["", f"`{name}`: {summary(file.cls)}", ""]
            lines += [*head, "| key | values | default | meaning |", "|:--|:--|:--|:--|", *own]
    return "\n".join(lines)


def _single(setting: Schema) -> Schema:
    """Return the schema of one value of a hyper-parameter."""
    one: Schema = setting["anyOf"][0]
    return one | {key: its for key, its in setting.items() if key != "anyOf"}


def _keys(schema: Schema) -> Iterator[str]:
    definitions = schema["$defs"]
    for key, its in schema["properties"].items():
        yield _line(key, its)
        table = its.get("$ref", "").removeprefix("#/$defs/")
        if table and key != "finetune":  # the same keys as train
            for inner, part in definitions[table]["properties"].items():
                yield _line(f"{key}.{inner}", part)
        if key == "methods":  # each method's own keys come in tables of their own
            for inner, part in _common(definitions).items():
                yield _line(f"methods.{inner}", part)


def _common(definitions: Schema) -> Schema:
    """Return the keys that every method's table can have."""
    some: Schema = next(its for name, its in definitions.items() if name.startswith(METHOD))
    shared = {key: some["properties"][key] for key in MethodSpec.model_fields}
    return shared | {"name": {"type": "string", "description": "of the method"}}


def _line(key: str, its: Schema) -> str:
    default = its.get("default")
    cells = (f"`{key}`", _values(its), "" if default is None else f"`{_toml(default)}`")
    return f"| {' | '.join(cells)} | {its.get('description', '').replace('|', '/')} |"


def _values(its: Schema) -> str:
    """Write in words which values a key takes."""
    if "const" in its:
        return f"`{_toml(its['const'])}`"
    if "enum" in its:
        few = its["enum"][:6]
        return ", ".join(f"`{_toml(each)}`" for each in few) + (", …" if its["enum"][6:] else "")
    if its.get("type") == "array":
        return f"a list of: {_values(its['items'])}"
    if "anyOf" in its:
        return _alternatives(its["anyOf"])
    if "$ref" in its:
        return "a table"
    words = {"integer": "a whole number", "number": "a number", "boolean": "`true`, `false`"}
    if abs(its.get("minimum", 2**63)) < 2**63:
        return f"{words[its['type']]} from {its['minimum']:g} to {its['maximum']:g}"
    if "exclusiveMinimum" in its:
        return f"a number over {its['exclusiveMinimum']:g}, at most {its['maximum']:g}"
    if "examples" in its:
        return ", ".join(f"`{each}`" for each in its["examples"])
    return words.get(str(its.get("type")), "text")


def _alternatives(parts: list[Schema]) -> str:
    single = [_values(part) for part in parts if part.get("type") != "array"]
    lists = [_values(part["items"]) for part in parts if part.get("type") == "array"]
    words = "; ".join(dict.fromkeys(single))
    others = [each for each in lists if each not in (words, *single)]
    if others:
        return "; ".join([*dict.fromkeys(single), *(f"a list of: {each}" for each in others)])
    return f"{words}; or a list of these" if lists else words


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
