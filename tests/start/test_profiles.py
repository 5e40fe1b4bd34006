"""The file that says what may be started: whose it must be, what it may say, and how values become words."""

import os
from pathlib import Path
from typing import Any

import pytest

from farwatch.agent import profiles
from farwatch.errors import DataError, UsageError

GOOD = """\
[profiles.train]
command = ["python", "train.py", "--lr={lr}", "{mode}", "--name", "{label}", "{{}}"]
folder = "/tmp"
environment = { TOKEN = "very secret" }

[profiles.train.parameters]
lr = { type = "float", min = 1e-6, max = 1, default = 0.1 }
mode = { type = "str", choices = ["--fast", "slow"], default = "slow" }
label = { type = "str", pattern = "[a-z ]+" }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / profiles.FILE
    path.write_text(text)
    path.chmod(0o600)
    folder.chmod(0o700)
    return path


def argv(folder: Path, **given: Any) -> list[str]:
    return profiles.load(folder)["train"].argv(given)


def test_values_become_parts_of_single_words(tmp_path: Path) -> None:
    write(tmp_path, GOOD)

    assert argv(tmp_path, lr="１e-3", label="two words") == ["python", "train.py", "--lr=0.001", "slow", "--name", "two words", "{}"]
    assert argv(tmp_path, label="a", mode="--fast")[3] == "--fast"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "the parameter `label` needs a value"),
        ({"label": "a", "lr": 2}, "lr is from 1e-06 to 1, not: `2`"),
        ({"label": "a", "lr": "nan"}, "lr is a finite number"),
        ({"label": "a", "mode": "other"}, "mode is one of --fast, slow"),
        ({"label": "; rm -rf /"}, "label must match"),
        ({"label": "--config=x"}, "label may not begin with a dash"),
        ({"label": "a\nb"}, "label is a text of at most 500 printable characters"),
        ({"label": "a", "LD_PRELOAD": "x"}, "there is no parameter `LD_PRELOAD`"),
    ],
)
def test_values_outside_the_schema_are_refused(tmp_path: Path, given: dict[str, Any], told: str) -> None:
    write(tmp_path, GOOD)

    with pytest.raises(UsageError) as error:
        argv(tmp_path, **given)

    assert told in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "right", "told"),
    [
        ("folder =", "fodler =", "launch.toml: line 3, profiles.train.fodler: there is no such field"),
        ('"/tmp"', '"tmp"', "line 3, profiles.train.folder: must be absolute"),
        ("{lr}", "{rate}", "line 2, profiles.train.command: `{rate}` is no parameter"),
        ('"python"', '"{mode}"', "line 2, profiles.train.command: the program itself cannot be a parameter"),
        ('["python"', '[3, "python"', "line 2, profiles.train.command: word 1 must be a text"),
        ("default = 0.1", "default = 3", "line 7, profiles.train.parameters.lr.default: lr is from"),
        ("min = 1e-6", 'min = "x"', "line 7, profiles.train.parameters.lr.min: must be a number"),
        ('type = "float"', 'type = "double"', "line 7, profiles.train.parameters.lr: needs a type: float, int, bool, str"),
        ('"[a-z ]+"', '"["', "line 9, profiles.train.parameters.label.pattern: is no regular expression"),
        ('TOKEN = "very secret"', "TOKEN = 3", "line 4, profiles.train.environment.TOKEN: must be a text"),
        ("[profiles.train]", "[profiles.train", "(at line 1, column"),
        ("[profiles.train]", "[profiles.train]\nat_once = 0", "line 2, profiles.train.at_once: is 1 to 64"),
        ("lr = {", "x = { type = 'int' }\nlr = {", "line 7, profiles.train.parameters.x: the command does not use it"),
    ],
)
def test_a_wrong_file_says_where(tmp_path: Path, wrong: str, right: str, told: str) -> None:
    write(tmp_path, GOOD.replace(wrong, right, 1))

    with pytest.raises(UsageError) as error:
        profiles.load(tmp_path)

    assert told in str(error.value)


def test_a_file_that_others_could_have_written_is_not_used(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    troubles = []

    for mode, folder_mode in ((0o620, 0o700), (0o600, 0o770)):
        path.chmod(mode)
        tmp_path.chmod(folder_mode)
        with pytest.raises(DataError) as error:
            profiles.load(tmp_path)
        troubles.append(error.value.message)
    path.chmod(0o644)
    tmp_path.chmod(0o755)

    assert troubles == [
        "launch.toml is not used: others may write launch.toml",
        "launch.toml is not used: others may write the folder of launch.toml",
    ]
    assert list(profiles.load(tmp_path)) == ["train"]
    if os.geteuid() == 0:
        os.chown(path, 12345, 0)
        with pytest.raises(DataError, match="belongs to somebody else"):
            profiles.load(tmp_path)
    path.unlink()
    (tmp_path / "elsewhere").write_text(GOOD)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="no link"):
        profiles.load(tmp_path)


def test_what_others_learn_has_no_value_of_the_environment(tmp_path: Path) -> None:
    write(tmp_path, GOOD)

    told = profiles.load(tmp_path)["train"].schema()

    assert told["environment"] == ["TOKEN"]
    assert "very secret" not in str(told)
    assert told["parameters"]["lr"] == {"type": "float", "min": 1e-6, "max": 1, "default": 0.1}


def test_without_a_file_nothing_can_be_started(tmp_path: Path) -> None:
    assert profiles.load(tmp_path) == {}
