"""The surface that users learn changes only where a text file says so: after a change that is meant, `make docs`."""

from pathlib import Path

import pytest

from farwatch.testing import reference, surface

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", sorted(surface.SNAPSHOTS))
def test_surface_is_as_recorded(name: str) -> None:
    file = ROOT / "tests" / "snapshots" / surface.file_name(name)
    recorded = file.read_text(encoding="utf-8").splitlines()

    assert surface.SNAPSHOTS[name]() == recorded


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_reference_page_says_what_the_program_does(name: str) -> None:
    page = (ROOT / "docs" / "reference" / f"{name}.md").read_text(encoding="utf-8")

    assert page == reference.MADE + reference.PAGES[name]()


def test_every_error_has_a_code_of_its_own_and_says_when_it_is_raised() -> None:
    kinds = surface.error_classes()
    codes = [kind.code for kind in kinds]

    assert sorted(codes) == sorted(set(codes))
    assert [kind.__name__ for kind in kinds if not (kind.__doc__ or "").strip()] == []


def test_every_command_has_json_and_a_sentence_of_help() -> None:
    lacking = [
        name for name, command in surface.commands() if not any("--json" in p.opts for p in command.params)
    ]
    silent = [name for name, command in surface.commands() if len((command.help or "").strip()) < 20]

    assert (lacking, silent) == ([], [])
