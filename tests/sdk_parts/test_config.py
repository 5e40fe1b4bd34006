"""A config is read from whatever people keep their settings in, and never hurts the training that it
describes."""

import argparse
import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import pickle
import re
import subprocess
import sys
import textwrap
import types
import uuid
from typing import Any

import attrs
import numpy as np
import pydantic
import pytest
from absl import flags
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict
from omegaconf import OmegaConf

from farwatch.errors import UsageError
from farwatch.sdk.config import Config, flatten, to_mapping
from farwatch.sdk.plain import plain


class Color(enum.Enum):
    RED = 1


class Mode(enum.StrEnum):
    FAST = "fast"


@dataclasses.dataclass
class Optimizer:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)


@dataclasses.dataclass
class Experiment:
    name: str = "x"
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)


@attrs.define
class Model:
    width: int = 8


class Settings(pydantic.BaseModel):
    depth: int = 3
    key: pydantic.SecretStr = pydantic.SecretStr("canary")


class OldPydantic:
    """The shape of a pydantic 1 model: `__fields__` and attributes."""

    __fields__ = types.MappingProxyType({"depth": object()})
    depth = 4


class WithToDict:
    def to_dict(self) -> dict[str, object]:
        return {"seed": 7, "hub_token": "<HUB_TOKEN>"}


class Plain:
    lr = 0.1
    layers = [1, 2]
    _hidden = 1

    def __init__(self) -> None:
        self.seed = 3

    def method(self) -> None: ...


def test_every_usual_kind_of_config_is_read() -> None:
    namespace = argparse.Namespace(lr=0.1, nested=argparse.Namespace(a=1))

    assert to_mapping(None) == {}
    assert to_mapping({"lr": 0.1}) == {"lr": 0.1}
    assert to_mapping(namespace) == {"lr": 0.1, "nested": {"a": 1}}
    assert to_mapping(types.SimpleNamespace(a=1)) == {"a": 1}
    assert to_mapping(Experiment()) == {"name": "x", "optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}}
    assert to_mapping(Model()) == {"width": 8}
    assert to_mapping(Settings()) == {"depth": 3, "key": "•••"}
    assert to_mapping(OldPydantic()) == {"depth": 4}
    assert to_mapping(WithToDict()) == {"seed": 7, "hub_token": "<HUB_TOKEN>"}
    assert to_mapping(Plain()) == {"lr": 0.1, "layers": [1, 2], "seed": 3}
    assert to_mapping(Plain) == {"lr": 0.1, "layers": [1, 2]}
    assert to_mapping(collections.namedtuple("Pair", "a b")(1, 2)) == {"a": 1, "b": 2}
    assert to_mapping(ConfigDict({"a": {"b": 1}})) == {"a": {"b": 1}}
    assert to_mapping(types.MappingProxyType({"a": 1})) == {"a": 1}


def test_omegaconf_is_resolved_where_it_can_be() -> None:
    assert to_mapping(OmegaConf.create({"a": 1, "b": "${a}", "c": {"d": [1, "${a}"]}})) == {
        "a": 1,
        "b": 1,
        "c": {"d": [1, 1]},
    }
    assert to_mapping(OmegaConf.create({"a": "???", "b": "${nowhere}"})) == {"a": "???", "b": "${nowhere}"}
    assert plain({"x": OmegaConf.create([1, 2])}) == {"x": [1, 2]}


def test_absl_flags_are_read_without_those_of_absl_itself() -> None:
    values = flags.FlagValues()
    flags.DEFINE_float("lr", 0.1, "rate", flag_values=values)
    flags.DEFINE_list("names", ["a", "b"], "names", flag_values=values)
    values(["prog", "--lr=0.5"])

    assert to_mapping(values) == {"lr": 0.5, "names": ["a", "b"]}
    assert "lr" not in to_mapping(flags.FLAGS)


def test_module_of_constants_is_read_without_its_imports_and_functions() -> None:
    module = types.ModuleType("settings")
    exec("import math\nLR = 0.1\nNAMES = ('a',)\n_private = 1\ndef f(): ...\nclass C: ...", vars(module))

    assert to_mapping(module) == {"LR": 0.1, "NAMES": ["a"]}


@pytest.mark.parametrize(
    "wrong", ["config.yaml", b"x", 3, [1, 2], (1,), {1, 2}, print, lambda: 1, np.zeros(3)]
)
def test_something_without_named_settings_is_refused_with_a_hint(wrong: object) -> None:
    with pytest.raises(UsageError, match="a config cannot be a"):
        to_mapping(wrong)


def test_values_become_what_json_can_hold() -> None:
    values = {
        "bool": True,
        "np_bool": np.bool_(True),
        "np_int": np.int32(3),
        "np_float": np.float64(0.5),
        "np_array": np.arange(3),
        "np_big": np.zeros((100, 100), np.float32),
        "np_dtype": np.dtype("float32"),
        "int": 2**80,
        "int_huge": 1 << 50_000,
        "nan": math.nan,
        "infinity": [math.inf, -math.inf],
        "enum": Color.RED,
        "text_enum": Mode.FAST,
        "path": pathlib.PurePosixPath("a/b"),
        "datetime": datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        "date": datetime.date(2024, 1, 2),
        "time": datetime.time(3, 4, 5),
        "np_moment": np.datetime64("2024-01-02T03:04:05.000001000", "ns"),
        "np_moments": np.array(["2024-01-02"], "datetime64[D]"),
        "np_nanoseconds": np.datetime64("2024-01-02T03:04:05.000000001"),
        "np_never": np.datetime64("NaT"),
        "delta": datetime.timedelta(seconds=90),
        "decimal": decimal.Decimal("0.10"),
        "uuid": uuid.UUID(int=1),
        "set": {3, 1, 2},
        "bytes": b"abc",
        "raw_bytes": b"\xff\x00",
        "complex": 1 + 2j,
        "range": range(3),
        "class": decimal.Decimal,
        "function": json.dumps,
        "regex": re.compile("a+"),
        "object": object(),
        "surrogate": "a\udc80",
        "none": None,
    }

    result = to_mapping(values)

    assert result["np_big"] == "ndarray float32 (100, 100)"
    assert str(result.pop("int_huge")).startswith("0x1000")
    del result["np_big"]
    assert result == {
        "bool": True,
        "np_bool": True,
        "np_int": 3,
        "np_float": 0.5,
        "np_array": [0, 1, 2],
        "np_dtype": "float32",
        "int": 2**80,
        "nan": "NaN",
        "infinity": ["Infinity", "-Infinity"],
        "enum": "RED",
        "text_enum": "fast",
        "path": "a/b",
        "datetime": {"$datetime": "2024-01-02T03:04:05+00:00"},
        "date": {"$date": "2024-01-02"},
        "time": "03:04:05",
        "np_moment": {"$datetime": "2024-01-02T03:04:05.000001"},
        "np_moments": [{"$datetime": "2024-01-02T00:00:00"}],
        "np_nanoseconds": "2024-01-02T03:04:05.000000001",
        "np_never": "NaT",
        "delta": "0:01:30",
        "decimal": "0.10",
        "uuid": "00000000-0000-0000-0000-000000000001",
        "set": [1, 2, 3],
        "bytes": "abc",
        "raw_bytes": "2 bytes: ff00",
        "complex": "(1+2j)",
        "range": "range(0, 3)",
        "class": "decimal.Decimal",
        "function": "json.dumps",
        "regex": "a+",
        "object": "<object object>",
        "surrogate": "a\\udc80",
        "none": None,
    }
    assert type(result["np_bool"]) is bool
    json.dumps(result, allow_nan=False).encode()


def test_torch_values_are_read() -> None:
    import torch

    values = {
        "device": torch.device("cpu"),
        "dtype": torch.bfloat16,
        "scalar": torch.tensor(2.0, requires_grad=True),
        "vector": torch.tensor([1, 2]),
        "big": torch.zeros(2000),
        "model": torch.nn.Linear(1, 1),
        "optimizer": torch.optim.Adam,
    }

    assert to_mapping(values) == {
        "device": "cpu",
        "dtype": "torch.bfloat16",
        "scalar": 2.0,
        "vector": [1, 2],
        "big": "Tensor float32 (2000,)",
        "model": "Linear(in_features=1, out_features=1, bias=True)",
        "optimizer": "torch.optim.adam.Adam",
    }


def test_keys_become_text_and_slashes_open_levels() -> None:
    assert to_mapping({1: "a", None: "b", (1, 2): "c", Color.RED: "d", "": "e"}) == {
        "1": "a",
        "None": "b",
        "(1, 2)": "c",
        "RED": "d",
        "unnamed": "e",
    }
    assert to_mapping({1: "int", "1": "text"}) == {"1": "int", "1 (str)": "text"}
    assert to_mapping({"data/version": "v2", "data": {"size": 1}}) == {"data": {"version": "v2", "size": 1}}
    assert to_mapping({"a": 1, "a/b": 2}) == {"a": 1, "a/b": 2}
    assert to_mapping({"/lead/x": 1}) == {"/lead/x": 1}


def test_cycles_and_depth_end() -> None:
    loop: dict[str, Any] = {"a": 1}
    loop["self"] = loop
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    shared = [1]

    assert to_mapping(loop) == {"a": 1, "self": {"a": 1, "self": "<cycle: dict>"}}
    assert "list" in json.dumps(to_mapping({"deep": deep}))
    assert to_mapping({"a": shared, "b": shared}) == {"a": [1], "b": [1]}


def test_hostile_objects_hurt_nobody() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

        def __getattr__(self, name: str) -> object:
            raise RuntimeError("no")

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no")

        __hash__ = object.__hash__

    class Broken(dict[str, object]):
        def __getitem__(self, key: str) -> object:
            raise RuntimeError("no")

    result = to_mapping({"a": Hostile(), "b": Broken(x=1), "c": 1})

    assert "its repr fails" in str(result["a"])
    assert result["c"] == 1


def test_huge_config_is_cut_not_waited_for() -> None:
    result = to_mapping({"rows": list(range(1_000_000))})

    assert result["rows"][:3] == [0, 1, 2]
    assert len(json.dumps(result)) < 16 << 20


def test_reading_a_config_imports_no_library() -> None:
    script = """
        import sys
        import farwatch.sdk.config as c
        before = set(sys.modules)
        c.to_mapping({"a": 1, "b": object(), "c": {1, 2}})
        print(sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
        print([m for m in ("numpy", "torch", "omegaconf", "attr", "pydantic") if m in sys.modules])
    """

    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd="src", capture_output=True, text=True, check=True
    )

    assert out.stdout.split("\n")[:2] == ["[]", "[]"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(max_size=8)
    | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
        | st.tuples(inner)
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
def test_any_mapping_survives_and_a_second_reading_changes_nothing(value: dict[str, Any]) -> None:
    once = to_mapping(value)

    json.dumps(once, allow_nan=False).encode()
    assert to_mapping(once) == once


def test_flatten_joins_names() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": {}}) == {
        "a/b/c": 1,
        "a/d": [1, {"e": 2}],
        "f": {},
    }


class Reports:
    """Collects what a `Config` reports, and keeps the mirror that a server would have."""

    def __init__(self) -> None:
        self.patches: list[dict[str, Any]] = []
        self.deleted: list[list[str]] = []
        self.mirror: dict[str, Any] = {}

    def change(self, patch: dict[str, Any]) -> None:
        from farwatch.sdk.plain import merge

        self.patches.append(copy.deepcopy(patch))
        merge(self.mirror, copy.deepcopy(patch))

    def delete(self, paths: list[str]) -> None:
        self.deleted.append(paths)
        for path in paths:
            level = self.mirror
            *above, last = path.split("/")
            for part in above:
                level = level[part]
            level.pop(last, None)


def test_config_reports_each_change_as_a_nested_patch() -> None:
    seen = Reports()
    config = Config({"lr": 0.1, "opt": {"name": "adam", "lr": 1.0}}, seen.change, seen.delete)
    assert seen.patches == []

    config["lr"] = 0.2
    config["opt"]["lr"] = 2.0
    config["opt/eps"] = math.nan
    config.seed = 7
    config.update({"opt": {"name": "sgd"}}, depth=3)
    config["new/deep/er"] = Color.RED

    assert seen.patches == [
        {"lr": 0.2},
        {"opt": {"lr": 2.0}},
        {"opt": {"eps": "NaN"}},
        {"seed": 7},
        {"opt": {"name": "sgd"}, "depth": 3},
        {"new": {"deep": {"er": "RED"}}},
    ]
    assert math.isnan(config["opt/eps"])
    assert config["new"]["deep"]["er"] == config.new.deep.er == config["new/deep/er"] == "RED"
    assert config["opt"]["name"] == "sgd"


def test_config_reports_deletions_and_replacements() -> None:
    seen = Reports()
    config = Config(None, seen.change, seen.delete)
    config.update({"a": 1, "b": {"c": 1, "d": 2}, "e": {"f": 1}})

    del config["a"]
    config["b"] = {"c": 3}
    assert config.pop("e/f") == 1
    assert config.pop("nothing", 5) == 5

    assert seen.deleted == [["a"], ["b/d"], ["e/f"]]
    assert seen.mirror == config.to_dict() == {"b": {"c": 3}, "e": {}}
    with pytest.raises(KeyError):
        del config["a"]


def test_config_behaves_as_a_dict() -> None:
    config = Config({"lr": 0.1, "opt": {"lr": 1.0}, "items": 3})

    assert json.loads(json.dumps(config)) == {"lr": 0.1, "opt": {"lr": 1.0}, "items": 3}
    assert config == {"lr": 0.1, "opt": {"lr": 1.0}, "items": 3}
    assert dict(**config)["lr"] == 0.1
    assert list(config) == ["lr", "opt", "items"] and len(config) == 3
    assert "opt/lr" in config and "opt/x" not in config and "x/y" not in config
    assert config.get("x/y", 4) == 4 and config.get("lr") == 0.1
    assert config["items"] == 3 and callable(config.items)
    assert pickle.loads(pickle.dumps(config)) == config
    assert copy.deepcopy(config) == config
    assert not hasattr(config, "nothing")
    with pytest.raises(KeyError, match="nothing"):
        config["nothing"]


def test_replaced_level_reports_to_nobody() -> None:
    seen = Reports()
    config = Config({"opt": {"lr": 1}}, seen.change, seen.delete)
    held = config["opt"]

    config["opt"] = {"lr": 2}
    held["lr"] = 3

    assert config["opt/lr"] == 2
    assert seen.patches == [{"opt": {"lr": 2}}]


def test_update_with_something_that_is_no_config_is_refused() -> None:
    config = Config({"a": 1})

    with pytest.raises(UsageError, match="a config cannot be a"):
        config.update(3)

    config.update([("b", 2)])
    config.update(argparse.Namespace(c=3))
    config |= {"d": 4}
    assert config == {"a": 1, "b": 2, "c": 3, "d": 4}
