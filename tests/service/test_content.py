"""What records bring beside numbers: config, tags, console, media, files, capture."""

from typing import Any

import pytest

from farwatch.errors import NotFoundError, UsageError
from farwatch.wire.records import Kind
from tests.service.conftest import Inside, Process, spelled

SHA = "ab" * 32


def console(
    process: Process, first: int, *lines: str, stream: str = "stdout", open_: bool = False
) -> Process:
    return process.add(Kind.CONSOLE, {"s": stream, "n": first, "lines": list(lines), "open": open_})


def texts(inside: Inside, run: str, **query: Any) -> list[str]:
    return [line["text"] for line in inside.runs.console(run, **query)["lines"]]


def test_config_patches_are_merged_and_deleted_by_path(inside: Inside) -> None:
    process = inside.started()
    process.patch(config={"lr": 0.1, "opt": {"name": "adam", "eps": 1e-8}, "a/b": 1})
    process.patch(config={"opt": {"eps": 1e-6}, "layers": [1, 2]})
    process.patch(config_delete=["opt/name", "a/b", "absent/x"]).send()

    assert inside.runs.detail(process.run)["config"] == {"lr": 0.1, "opt": {"eps": 1e-6}, "layers": [1, 2]}
    assert inside.runs.columns("digits")["config"] == [
        {"name": "layers", "type": "list"}, {"name": "lr", "type": "float"}, {"name": "opt/eps", "type": "float"}
    ]  # fmt: skip


def test_a_datetime_in_a_config_is_one_value(inside: Inside) -> None:
    early, late = {"$datetime": "2026-01-01T00:30:00+02:00"}, {"$datetime": "2025-12-31T23:00:00+00:00"}
    made = []
    for when in (late, early, "2020-01-01", {"$datetime": "soon"}):
        process = inside.started().patch(config={"when": {"a": 1}, "day": early})
        made.append(process.patch(config={"when": when, "day": {"$date": "2026-01-01"}}))
        process.send()
    made[0].patch(config={"when": {"b": 2}}).patch(config={"when": late}).send()

    assert inside.runs.detail(made[0].run)["config"] == {"when": late, "day": {"$date": "2026-01-01"}}
    found = inside.runs.list(sort="config.when", columns="config.when")
    cells = [row["cells"][0] for row in found["runs"]]
    assert cells == ["2020-01-01", early, late, None]  # a text before datetimes, these by the moment and not by their digits
    types = {column["name"]: column["type"] for column in inside.runs.columns("digits")["config"]}
    assert types == {"when": "mixed", "day": "date", "when/a": "int", "when/$datetime": "text"}


def test_nonfinite_numbers_of_a_config_are_spelled_as_text(inside: Inside) -> None:
    process = inside.started()
    process.payloads.append(process.payloads[0][:0] + _patch_with_nan(process))
    process.send()

    assert spelled(inside.runs.detail(process.run)["config"]) == {"a": "NaN", "b": ["Infinity", "-Infinity"]}


def _patch_with_nan(process: Process) -> bytes:
    head = process.add(Kind.PATCH, {}).payloads.pop()[:24]
    return head + b'{"config": {"a": NaN, "b": [1e999, -Infinity]}}'


def test_tags_notes_name_and_progress_are_those_last_told(inside: Inside) -> None:
    process = inside.started(tags=["x"])
    process.patch(tags={"add": ["a", "b"], "remove": ["x"]}, notes="first").patch(
        tags={"remove": ["a"]}, name="swift", notes="second"
    )
    process.patch(total_steps=100, progress={"n": 10, "total": 100, "rate": 4.0, "elapsed_s": 2.5, "desc": "epoch"}).send()

    row = inside.runs.row(process.run)
    assert (row["tags"], row["name"], row["notes"]) == (["b"], "swift", "second")
    at_ms = row["progress"].pop("at_ms")
    assert row["created_ms"] <= at_ms <= row["modified_ms"]
    assert row["total_steps"] == 100
    assert row["progress"] == {
        "n": 10, "total": 100, "desc": "epoch", "unit": "it", "elapsed_s": 2.5, "rate": 4.0, "remaining_s": 22.5, "postfix": None,
        "scale": None, "ended": False, "bars": [],
    }  # fmt: skip


def test_progress_that_makes_no_sense_changes_nothing(inside: Inside) -> None:
    process = inside.started().patch(progress={"n": 3, "total": 9, "bars": [{"n": 1}, {"n": "x"}, 7]})
    process.patch(progress={"n": "x"}).patch(progress={"n": True}).patch(progress=[4]).send()

    progress = inside.runs.row(process.run)["progress"]
    assert (progress["n"], progress["total"], [bar["n"] for bar in progress["bars"]]) == (3, 9, [1])


def test_own_summary_values_stand_beside_those_of_metrics(inside: Inside) -> None:
    process = inside.started().log({"acc": 0.5}).log({"acc": 0.4})
    process.patch(summary={"best_acc": 0.93, "note": "good", "acc": 0.7, "gone": 1}).patch(
        summary={"gone": None}
    ).send()

    assert inside.runs.detail(process.run)["summary"] == {"acc": 0.7, "best_acc": 0.93, "note": "good"}
    assert inside.runs.list(where="summary.best_acc > 0.9 and summary.acc == 0.7")["total"] == 1


def test_definitions_choose_the_summary_and_the_main_metric(inside: Inside) -> None:
    process = inside.started()
    process.patch(define=[{"match": "val/*", "summary": "max", "goal": "max", "unit": "%", "x": "epoch"}])
    for value in (0.2, 0.9, 0.5):
        process.log({"loss": 1 - value, "val/acc": value})
    process.patch(define=[{"match": "val/*", "unit": "pp"}]).send()

    detail = inside.runs.detail(process.run)
    metric = inside.runs.metrics(process.run, match="acc")["metrics"][0]
    assert detail["summary"] == {"loss": 0.5, "val/acc": 0.9}
    assert (detail["main_metric"], detail["main_last"]) == ("val/acc", 0.5)
    assert (metric["x"], metric["summary"], metric["goal"], metric["unit"]) == ("epoch", "max", "max", "pp")


def test_main_metric_is_a_usual_name_else_the_first_logged_and_can_be_pinned(inside: Inside) -> None:
    plain = inside.started().log({"zeta": 1.0, "alpha": 2.0})
    plain.send()
    usual = inside.started().log({"alpha": 1.0, "train/loss": 3.0})
    usual.send()

    before = [inside.runs.row(one.run)["main_metric"] for one in (plain, usual)]
    inside.runs.pin_main_metric("digits", "alpha")
    inside.runs.flush()

    assert before == ["zeta", "train/loss"]
    assert [inside.runs.row(one.run)["main_metric"] for one in (plain, usual)] == ["alpha", "alpha"]
    assert [inside.runs.row(one.run)["main_last"] for one in (plain, usual)] == [2, 1]


def test_diverged_values_are_spelled_in_summary_and_row(inside: Inside) -> None:
    process = inside.started().log({"loss": 1.0}).log({"loss": float("nan")})
    process.send()

    expected = {"main_last": "NaN", "summary": {"loss": "NaN"}}
    assert {key: spelled(inside.runs.detail(process.run))[key] for key in expected} == expected
    inside.runs.flush()
    assert inside.runs.row(process.run)["main_last"] == "NaN"
    assert inside.runs.list(columns="summary.loss,summary.loss.min")["runs"][0]["cells"] == ["NaN", 1]


# --- console


def test_open_console_lines_are_replaced_by_newer_ones(inside: Inside) -> None:
    process = inside.started()
    console(process, 0, "start", "epoch 1:  10%", open_=True)
    console(process, 1, "epoch 1:  50%", open_=True).send()
    console(process, 2, "warning", stream="stderr")
    console(process, 1, "epoch 1: 100%").send()

    found = inside.runs.console(process.run)

    assert [(line["n"], line["stream"], line["text"]) for line in found["lines"]] == [
        (0, "stdout", "start"), (1, "stdout", "epoch 1: 100%"), (2, "stderr", "warning")
    ]  # fmt: skip
    assert found["total"] == 3


def test_console_is_paged_tailed_and_searched(inside: Inside) -> None:
    process = inside.started()
    console(process, 0, *(f"line {i}" for i in range(2_000))).send()

    assert texts(inside, process.run, first=10, limit=2) == ["line 10", "line 11"]
    assert texts(inside, process.run, tail=True, limit=2) == ["line 1998", "line 1999"]
    assert texts(inside, process.run, q="NE 199", limit=2) == ["line 199", "line 1990"]
    assert texts(inside, process.run, q="100%") == []
    assert inside.runs.console(process.run, q="line 199")["total"] == 11


def test_console_of_a_second_attempt_follows_the_first(inside: Inside) -> None:
    first = inside.started(run="mine")
    console(first, 0, "a", "b").goodbye().send()
    inside.clock.advance(10)
    second = inside.started(run="mine")
    console(second, 0, "c", open_=True).send()
    console(second, 0, "c!", "d").send()

    assert texts(inside, "mine") == ["a", "b", "c!", "d"]
    assert [inside.runs.console_base(one.id) for one in (first, second)] == [0, 2]


def test_console_of_concurrent_writers_does_not_mix(inside: Inside) -> None:
    first = inside.started(run="mine")
    worker = inside.started(run="mine", main=False, sibling_of=first.id)
    console(first, 0, "a").send()
    console(worker, 0, "w").send()
    console(first, 1, "b").send()

    assert texts(inside, "mine") == ["a", "b", "w"]


def test_console_of_ranks_is_kept_apart(inside: Inside) -> None:
    zero = inside.started(rendezvous="k")
    one = inside.process(rank=1, rendezvous="k")
    one.register()
    console(zero, 0, "zero").send()
    console(one, 0, "one").send()

    assert texts(inside, zero.run, rank=0) == ["zero"]
    assert texts(inside, zero.run, rank=1) == ["one"]


# --- media and files


def test_media_are_listed_by_name_and_step_and_get_their_address_when_they_have_come(inside: Inside) -> None:
    process = inside.started()
    for step in (0, 10, 20):
        process.add(Kind.POINT, {"name": "sample", "type": "text", "text": f"at {step}"}, step=step)
    image = {
        "name": "grid",
        "type": "image",
        "spool": "i1",
        "media_type": "image/png",
        "width": 8,
        "height": 9,
        "caption": "x",
    }
    process.add(Kind.POINT, image, step=5).send()
    before = inside.runs.media(process.run, name="grid")["items"][0]

    inside.runs.spooled(process.id, "i1", SHA, 77, "image/png")
    found = inside.runs.media(process.run, step_min=5, step_max=15)

    assert (before["url"], before["width"]) == (None, 8)
    assert [(one["name"], one["type"], one["count"], one["step_min"], one["step_max"]) for one in found["names"]] == [
        ("grid", "image", 1, 5, 5), ("sample", "text", 3, 0, 20)
    ]  # fmt: skip
    assert [(one["name"], one["step"], one["text"], one["size"]) for one in found["items"]] == [
        ("grid", 5, None, 77), ("sample", 10, "at 10", None)
    ]  # fmt: skip
    assert found["items"][0]["url"] == f"blobs/{SHA}?type=image/png"
    assert inside.runs.runs_with_blob(SHA) == [process.run]


def test_media_with_fields_of_other_types_are_shown_without_them(inside: Inside) -> None:
    """A reader is built with the declared types; a writer may send anything."""
    process = inside.started()
    odd = {"name": "h", "type": "histogram", "counts": "many", "edges": [1, {}], "columns": 5, "rows": [1], "caption": ["x"], "fps": "a"}
    process.add(Kind.POINT, odd, step=1).send()

    found = inside.runs.media(process.run, name="h")["items"][0]

    assert {found[name] for name in ("counts", "edges", "columns", "rows", "caption")} == {None}
    assert "fps" not in found



def test_file_that_came_before_its_record_is_found(inside: Inside) -> None:
    process = inside.started()
    inside.runs.spooled(process.id, "f1", SHA, 5, None)
    process.add(
        Kind.FILE,
        {"path": "/out/../out/a.yaml", "spool": "f1", "size": 5, "mtime_ms": 9, "media_type": "text/yaml"},
    ).send()

    assert inside.runs.files(process.run) == {
        "files": [
            {"path": "out/out/a.yaml", "sha256": SHA, "size": 5, "mtime_ms": 9, "media_type": "text/yaml"}
        ]
    }
    assert inside.runs.file(process.run, "out/out/a.yaml") == (SHA, "text/yaml", 5)


def test_file_can_be_deleted_and_the_newest_of_one_path_counts(inside: Inside) -> None:
    process = inside.started()
    for spool, size in (("f1", 1), ("f2", 2)):
        process.add(Kind.FILE, {"path": "a", "spool": spool, "size": size, "mtime_ms": 1})
        inside.runs.spooled(process.id, spool, spool * 32, size, None)
    process.send()
    assert inside.runs.file(process.run, "a")[2] == 2

    dropped: list[str] = []
    inside.runs.drop_blob = dropped.append
    inside.runs.delete_file(process.run, "a", "ann")

    assert sorted(dropped) == ["f1" * 32, "f2" * 32]
    assert inside.runs.files(process.run) == {"files": []}
    with pytest.raises(NotFoundError):
        inside.runs.file(process.run, "a")


def test_capture_becomes_files_under_source(inside: Inside) -> None:
    process = inside.started()
    source = [
        {"path": "train.py", "spool": "s1", "size": 3},
        {"path": "conf/a.yaml", "spool": "s2", "size": 4},
    ]
    process.patch(capture={"git": {"commit": "abc", "dirty": True}, "diff_spool": "d1.diff", "size": 9})
    process.patch(
        capture={"source": source, "packages": {"numpy": "2.0"}, "requirements_spool": "r1.txt"}
    ).send()

    capture = inside.runs.detail(process.run)["capture"]
    assert capture == {
        "git": {"commit": "abc", "dirty": True}, "diff": "source/uncommitted.diff", "packages": {"numpy": "2.0"},
        "source": ["source/train.py", "source/conf/a.yaml"], "requirements": "source/requirements.txt",
    }  # fmt: skip
    assert [one["path"] for one in inside.runs.files(process.run)["files"]] == [
        "source/conf/a.yaml", "source/requirements.txt", "source/train.py", "source/uncommitted.diff"
    ]  # fmt: skip


def test_blob_that_another_run_has_too_is_kept_until_the_last_one_goes(inside: Inside) -> None:
    dropped: list[str] = []
    inside.runs.drop_blob = dropped.append
    runs = []
    for _ in range(2):
        process = inside.started().add(Kind.POINT, {"name": "img", "type": "image", "spool": "i"}, step=0)
        process.send()
        inside.runs.spooled(process.id, "i", SHA, 1, None)
        runs.append(process.run)

    inside.runs.delete_metrics(runs[0], ["img"], "ann")
    after_first = list(dropped)
    inside.runs.purge(runs[1])

    assert (after_first, dropped) == ([], [SHA])


# --- changing by people


def test_people_rename_tag_annotate_and_archive(inside: Inside) -> None:
    process = inside.started(tags=["x"])
    run = process.run

    inside.runs.update(
        run, {"name": "red-otter", "notes": "n", "tags": {"add": ["a", "b"], "remove": ["x"]}}, "ann"
    )
    inside.runs.update(run, {"tags": {"remove": ["a"]}, "archived": True}, "ann")

    row = inside.runs.row(run)
    assert (row["name"], row["notes"], row["tags"], row["archived"]) == ("red-otter", "n", ["b"], True)
    assert inside.runs.list()["total"] == 0
    assert inside.runs.list(archived=True, where='"b" in tags')["total"] == 1


MANY_TAGS = {"tags": {"add": [str(i) for i in range(200)]}}


@pytest.mark.parametrize(
    "patch",
    [{"name": ""}, {"name": 3}, {"state": "finished"}, {"tags": ["a"]}, {"archived": "yes"}, MANY_TAGS],
)
def test_wrong_changes_are_refused_and_change_nothing(inside: Inside, patch: dict) -> None:
    process = inside.started(name="calm")

    with pytest.raises(UsageError):
        inside.runs.update(process.run, patch, "ann")

    assert (inside.runs.row(process.run)["name"], inside.runs.row(process.run)["tags"]) == ("calm", [])


def test_deleted_metric_is_gone_everywhere(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0, "b": 2.0})
    process.add(Kind.POINT, {"name": "a", "type": "text", "text": "t"}, step=1).send()

    inside.runs.delete_metrics(process.run, ["a"], "ann")

    assert [one["name"] for one in inside.runs.metrics(process.run)["metrics"]] == ["b"]
    assert inside.runs.detail(process.run)["summary"] == {"b": 2}
    assert inside.runs.media(process.run)["names"] == []
    assert inside.runs.row(process.run)["points"] == 1


def test_program_deletes_a_metric_and_logs_it_again(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0}).log({"a": 2.0})
    process.send()

    process.patch(delete={"metrics": ["a"], "files": []}).log({"a": 9.0}).send()

    assert inside.runs.metrics(process.run)["metrics"][0]["count"] == 1
    assert inside.runs.detail(process.run)["summary"] == {"a": 9}


def test_references_find_a_run_by_id_short_id_and_number(inside: Inside) -> None:
    process = inside.started()
    told = inside.runs.writer_status(process.id)

    assert {inside.runs.find(ref) for ref in (told["run"], told["short"], "digits#1")} == {process.run}
    for missing in ("zzzzzzz", "digits#2", "", "digits#", "#1", told["run"][:5]):
        with pytest.raises(NotFoundError):
            inside.runs.find(missing)


def test_ambiguous_short_id_lists_its_candidates(inside: Inside) -> None:
    ids = ["abcdefg000000001", "abcdefg000000002"]
    for run in ids:
        inside.started(run=run)

    with pytest.raises(NotFoundError) as refused:
        inside.runs.find("abcdefg")

    assert all(run in str(refused.value) for run in ids)
