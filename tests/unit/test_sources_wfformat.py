"""WfFormat: what becomes of odd but legal documents, and what malformed ones are answered with."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from test_sources_replay import check, entity, origins, payload, references

from baash import sources
from baash.errors import InputError
from baash.records import Operation

BASE: dict[str, Any] = {
    "name": "w",
    "schemaVersion": "1.5",
    "createdAt": "2025-03-01T12:00:00Z",
    "workflow": {
        "specification": {
            "tasks": [
                {
                    "id": "t1",
                    "name": "first",
                    "parents": [],
                    "children": ["t2"],
                    "inputFiles": ["in"],
                    "outputFiles": ["mid"],
                },
                {
                    "id": "t2",
                    "name": "second",
                    "parents": ["t1"],
                    "children": [],
                    "inputFiles": ["mid"],
                    "outputFiles": ["out"],
                },
            ],
            "files": [{"id": name, "sizeInBytes": 5} for name in ("in", "mid", "out")],
        },
        "execution": {
            "makespanInSeconds": 3,
            "executedAt": "20250301T120000+0000",
            "tasks": [
                {
                    "id": "t1",
                    "runtimeInSeconds": 1.5,
                    "command": {"program": "cat", "arguments": ["in"]},
                    "machines": ["m"],
                }
            ],
            "machines": [{"nodeName": "m"}],
        },
    },
}


def base() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    document = copy.deepcopy(BASE)
    return document, document["workflow"]["specification"], document["workflow"]["execution"]


def opened(tmp_path: Path, document: Any) -> sources.Source:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document))
    return sources.open_input(path)


def story(tmp_path: Path, document: Any) -> list[str]:
    found = check(opened(tmp_path, document))
    return [f"{Operation(int(found.info['operation'][at])).name} {entity(found, at)}" for at in range(len(found))]


def test_the_order_of_a_small_run_and_what_refers_to_what(tmp_path: Path) -> None:
    found = check(opened(tmp_path, BASE))
    told = [f"{Operation(int(found.info['operation'][at])).name} {entity(found, at)}" for at in range(len(found))]
    assert told == [
        "CREATE w",
        "CREATE w/in",
        "CREATE w/task/t1",
        "USE w/in",
        "CREATE w/mid",
        "CREATE w/task/t2",
        "USE w/mid",
        "CREATE w/out",
    ]
    place = {found.ids[at].tobytes(): at for at in range(len(found))}
    assert [[place[r] for r in references(found, at)] for at in range(8)] == [
        [],
        [],
        [0],
        [1, 2],
        [2, 1],
        [0],
        [4, 5],
        [5, 4],
    ]
    assert json.loads(payload(found, 2)) == {
        "kind": "workflow-task",
        "id": "t1",
        "name": "first",
        "parents": [],
        "runtimeInSeconds": 1.5,
        "command": {"program": "cat", "arguments": ["in"]},
        "machines": ["m"],
    }
    assert json.loads(payload(found, 4)) == {"kind": "workflow-file", "id": "mid", "sizeInBytes": 5, "task": "t1"}
    assert json.loads(payload(found, 0))["machines"] == [{"nodeName": "m"}]
    assert {
        int.from_bytes(found.records[s + 40 : s + 48].tobytes(), "little") for s in found.info["start"].tolist()
    } == {1740830400 * 10**9}


def test_the_order_in_the_document_does_not_matter_to_parents(tmp_path: Path) -> None:
    document, specification, _ = base()
    specification["tasks"].reverse()
    for task in specification["tasks"]:
        task["parents"], task["children"] = [], []  # the files alone say it
    told = story(tmp_path, document)
    assert told.index("CREATE w/task/t1") < told.index("CREATE w/task/t2")


def test_a_file_written_twice_is_updated(tmp_path: Path) -> None:
    document, specification, _ = base()
    specification["tasks"][1]["outputFiles"] = ["mid"]
    assert story(tmp_path, document)[-1] == "UPDATE w/mid"


def test_a_file_changed_in_place_was_there_before(tmp_path: Path) -> None:
    document, specification, _ = base()
    specification["tasks"][0]["outputFiles"] = ["in", "mid"]
    told = story(tmp_path, document)
    assert told.index("CREATE w/in") < told.index("USE w/in") < told.index("UPDATE w/in")


def test_two_tasks_that_change_one_file_in_place_are_no_cycle(tmp_path: Path) -> None:
    document, specification, _ = base()
    for task in specification["tasks"]:
        task["inputFiles"] = task["outputFiles"] = ["in"]
    told = story(tmp_path, document)
    assert told.count("UPDATE w/in") == 2 and told.count("CREATE w/in") == 1


def test_files_without_entry_and_entries_without_task(tmp_path: Path) -> None:
    document, specification, _ = base()
    specification["files"] = [{"id": "readme", "sizeInBytes": 1}]
    told = story(tmp_path, document)
    assert "CREATE w/readme" in told and "CREATE w/out" in told


def test_no_execution_and_no_times(tmp_path: Path) -> None:
    document, _, _ = base()
    del document["workflow"]["execution"], document["createdAt"]
    assert len(story(tmp_path, document)) == 8


def test_more_inputs_than_a_record_can_refer_to(tmp_path: Path) -> None:
    document, specification, _ = base()
    specification["tasks"][0]["inputFiles"] = [f"in{n}" for n in range(5000)]
    found = check(opened(tmp_path, document))
    assert max(found.info["reference_count"].tolist()) <= 4096
    reached = origins(found, "w/out")
    assert {f"w/in{n}" for n in range(5000)} <= reached


def change(where: str, value: Any) -> Any:
    def apply(document: dict[str, Any]) -> None:
        *path, last = [int(step) if step.isdigit() else step for step in where.split("/")]
        inner: Any = document
        for step in path:
            inner = inner[step]
        if value is None:
            del inner[last]
        else:
            inner[last] = value

    return apply


SPEC, RUN = "workflow/specification", "workflow/execution"
MALFORMED = [
    ("name", None, "name is missing"),
    ("name", "", 'name is ""; expected a text that is not empty'),
    ("schemaVersion", None, "schemaVersion is missing"),
    ("schemaVersion", "1.4", 'schemaVersion is "1.4"; expected WfFormat 1.5'),
    ("workflow", 5, "workflow is 5; expected an object"),
    ("workflow/specification", None, "workflow.specification is missing"),
    (f"{SPEC}/tasks", {}, "workflow.specification.tasks is {}; expected a list"),
    (f"{SPEC}/tasks/1", 7, "workflow.specification.tasks[1] is 7; expected an object"),
    (f"{SPEC}/tasks/1/id", None, "workflow.specification.tasks[1].id is missing"),
    (f"{SPEC}/tasks/1/id", "t1", 'workflow.specification.tasks[1].id is "t1"; expected an id of its own'),
    (f"{SPEC}/tasks/1/inputFiles", "x", 'workflow.specification.tasks[1].inputFiles is "x"; expected a list'),
    (f"{SPEC}/tasks/1/inputFiles", [1], "workflow.specification.tasks[1].inputFiles[0] is 1; expected a text"),
    (
        f"{SPEC}/tasks/1/parents",
        ["t9"],
        'workflow.specification.tasks[1].parents[0] is "t9"; expected the id of a task',
    ),
    (f"{SPEC}/tasks/0/parents", ["t2"], "has a cycle, t1 → t2 → t1; expected tasks that can run one after the other"),
    (f"{SPEC}/tasks/0/inputFiles", ["out"], "has a cycle"),
    (f"{SPEC}/files/0/id", "task/t1", "has the id 'task/t1', which is the name of a task's entity"),
    ("workflow/execution/executedAt", "noon", "workflow.execution.executedAt is 'noon'; expected a time such as"),
    ("workflow/execution/tasks/0/id", "t9", 'workflow.execution.tasks[0].id is "t9"; expected the id of a task in'),
    (f"{SPEC}/tasks/0/outputFiles", ["x" * 5000], "is longer than 4096 bytes"),
    (f"{SPEC}/files/0/note", float("nan"), "is not valid JSON text"),
    (f"{SPEC}/files/0/sizeInBytes", "big", 'files[0].sizeInBytes is "big"; expected a whole number from 0'),
    (f"{SPEC}/files/0/sizeInBytes", -1, "expected a whole number from 0"),
    (f"{SPEC}/files/0/sizeInBytes", 1.5, "expected a whole number from 0"),
    (f"{SPEC}/files/0/sizeInBytes", True, "expected a whole number from 0"),
    (f"{SPEC}/tasks/0/category", 7, "tasks[0].category is 7; expected a text"),
    (f"{RUN}/makespanInSeconds", [3], "workflow.execution.makespanInSeconds is [3]; expected a number"),
    (f"{RUN}/tasks/0/runtimeInSeconds", "1.5", 'execution.tasks[0].runtimeInSeconds is "1.5"; expected a number'),
    (f"{RUN}/tasks/0/avgCPU", float("inf"), "avgCPU is Infinity; expected a number"),
    (f"{RUN}/tasks/0/command/arguments", ["a", 1], "command.arguments[1] is 1; expected a text"),
    (f"{RUN}/tasks/0/command", "cat", 'execution.tasks[0].command is "cat"; expected an object'),
    (f"{RUN}/tasks/0/machines", "m", 'tasks[0].machines is "m"; expected a list'),
    (f"{RUN}/machines/0/memoryInBytes", "64 GB", 'machines[0].memoryInBytes is "64 GB"; expected a whole number'),
    (f"{RUN}/machines/0/cpu", {"coreCount": "many"}, 'machines[0].cpu.coreCount is "many"; expected a whole number'),
]


@pytest.mark.parametrize(
    ("where", "value", "said"), MALFORMED, ids=[f"{where}-{n}" for n, (where, _, _) in enumerate(MALFORMED)]
)
def test_malformed_documents_are_refused_with_the_place(tmp_path: Path, where: str, value: Any, said: str) -> None:
    document, _, _ = base()
    change(where, value)(document)
    with pytest.raises(InputError) as caught:
        opened(tmp_path, document)
    assert str(caught.value).startswith(str(tmp_path / "run.json"))
    assert said in str(caught.value)


@pytest.mark.parametrize(("text", "said"), [("{", "line 1: not JSON"), ("[]", "top level is []"), ("\xff", "not JSON")])
def test_what_is_no_document(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        sources.open_input(path)
    assert said in str(caught.value)
