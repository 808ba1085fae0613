"""WfFormat 1.5 (WfCommons): what a workflow management system wrote down about a run.

The run becomes one entity, ``<workflow>``, each task ``<workflow>/task/<id>`` and each file ``<workflow>/<id>``.
Tasks are taken in topological order. A task's records are its CREATE, a USE of each input and a CREATE of each output;
an output refers to its task and to the transactions that made the inputs, so what a file was made from can be walked by
references alone. A file written again is an UPDATE; a file that is read before any task wrote it was there before.
"""

from __future__ import annotations

import hashlib
import json
import math
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from baash.errors import InputError
from baash.records import ENTITY_BYTES_MAX, Operation, PayloadType
from baash.sources.drafts import Draft, DraftSource, json_payload, refer
from baash.sources.opening import open_regular
from baash.sources.times import workflow_time

VERSIONS = ("1.5",)
# Fields that the schema of WfFormat 1.5 gives a type and that go into payloads as they come.
_WHOLE, _NUMBER, _TEXT, _TEXTS = "whole", "number", "text", "texts"
_FILE_FIELDS = {"sizeInBytes": _WHOLE}
_TASK_FIELDS = {"name": _TEXT, "category": _TEXT}
_RUN_FIELDS = {"makespanInSeconds": _NUMBER}
_EXECUTION_FIELDS = {
    "runtimeInSeconds": _NUMBER, "coreCount": _NUMBER, "avgCPU": _NUMBER, "readBytes": _NUMBER, "writtenBytes": _NUMBER,
    "memoryInBytes": _NUMBER, "energyInKWh": _NUMBER, "avgPowerInW": _NUMBER, "priority": _NUMBER, "machines": _TEXTS,
}  # fmt: skip
_COMMAND_FIELDS = {"program": _TEXT, "arguments": _TEXTS}
_MACHINE_FIELDS = {"nodeName": _TEXT, "system": _TEXT, "architecture": _TEXT, "release": _TEXT, "memoryInBytes": _WHOLE}
_CPU_FIELDS = {"coreCount": _WHOLE, "speedInMHz": _NUMBER, "vendor": _TEXT}


class WfFormatSource(DraftSource):
    """One workflow run. All of it is read and checked when the source is made."""

    def __init__(self, path: str | Path, name: str | None = None) -> None:
        path = Path(path)
        with open_regular(path) as file:
            data = file.read()
        if name is None:
            name = f"wfformat:sha256:{hashlib.sha256(data).hexdigest()}"
        super().__init__(name, _Workflow(_Field.document(path, data)).drafts())


class _Field:
    """A value in the document and where it lies; what is not as expected is an InputError that says where."""

    def __init__(self, path: Path, where: str, value: Any) -> None:
        self.path, self.where, self.value = path, where, value

    @classmethod
    def document(cls, path: Path, data: bytes) -> _Field:
        try:
            return cls(path, "", json.loads(data))
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {error.lineno}: not JSON ({error.msg}); expected WfFormat 1.5.") from None
        except (UnicodeDecodeError, RecursionError):
            raise InputError(f"{path} is not JSON; expected WfFormat 1.5.") from None

    def refuse(self, expected: str) -> InputError:
        shown = json.dumps(self.value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return InputError(f"{self.path}, {self.where or 'top level'} is {shown}; expected {expected}.")

    def get(self, name: str, required: bool = True) -> _Field | None:
        if not isinstance(self.value, dict):
            raise self.refuse("an object")
        where = f"{self.where}.{name}" if self.where else name
        if self.value.get(name) is None:
            if required:
                raise InputError(f"{self.path}, {where} is missing; expected as in WfFormat 1.5.")
            return None
        return _Field(self.path, where, self.value[name])

    def need(self, name: str) -> _Field:
        field = self.get(name)
        assert field is not None
        return field

    def items(self, name: str) -> list[_Field]:
        """The entries of a list, none if it is not there."""
        field = self.get(name, required=False)
        if field is None:
            return []
        if not isinstance(field.value, list):
            raise field.refuse("a list")
        return [_Field(self.path, f"{field.where}[{at}]", value) for at, value in enumerate(field.value)]

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            raise self.refuse("a text that is not empty")
        return self.value

    def texts(self, name: str) -> list[str]:
        return list(dict.fromkeys(field.text() for field in self.items(name)))

    def check(self, types: dict[str, str]) -> None:
        """Each of these fields that is there is of its type."""
        for name, kind in types.items():
            field = self.get(name, required=False)
            if field is None:
                continue
            value = field.value
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if kind == _NUMBER and not number:
                raise field.refuse("a number")
            if kind == _WHOLE and not (number and value >= 0 and value == int(value)):
                raise field.refuse("a whole number from 0")
            if kind == _TEXT and not isinstance(value, str):
                raise field.refuse("a text")
            if kind == _TEXTS:
                for item in self.items(name):
                    if not isinstance(item.value, str):
                        raise item.refuse("a text")

    def inner(self, name: str, types: dict[str, str]) -> None:
        """The same for the fields of an object that may be there."""
        field = self.get(name, required=False)
        if field is not None:
            field.check(types)

    def time_ns(self, name: str) -> int | None:
        field = self.get(name, required=False)
        if field is None:
            return None
        try:
            return workflow_time(field.text())
        except ValueError as error:
            raise InputError(f"{self.path}, {field.where} is {field.value!r}; {error}.") from None


def _by_id(fields: list[_Field]) -> dict[str, _Field]:
    found: dict[str, _Field] = {}
    for field in fields:
        key = field.need("id").text()
        if key in found:
            raise field.need("id").refuse(f"an id of its own, not that of {found[key].where}")
        found[key] = field
    return found


class _Workflow:
    """The document, and the drafts it comes to."""

    def __init__(self, document: _Field) -> None:
        version = document.need("schemaVersion")
        if version.value not in VERSIONS:
            raise version.refuse(f"WfFormat {' or '.join(VERSIONS)}")
        self.document = document
        self.name = document.need("name").text()
        workflow = document.need("workflow")
        specification = workflow.need("specification")
        self.execution = workflow.get("execution", required=False) or _Field(document.path, "workflow.execution", {})
        self.tasks = _by_id(specification.items("tasks"))
        self.files = _by_id(specification.items("files"))
        self.executions = _by_id(self.execution.items("tasks"))
        for key, field in self.executions.items():
            if key not in self.tasks:
                raise field.need("id").refuse("the id of a task in workflow.specification.tasks")
        self._check_types()
        self.inputs = {key: task.texts("inputFiles") for key, task in self.tasks.items()}
        self.outputs = {key: task.texts("outputFiles") for key, task in self.tasks.items()}
        self.time_ns = self.execution.time_ns("executedAt") or document.time_ns("createdAt") or 0

    def _check_types(self) -> None:
        """Of what goes into payloads without being looked at."""
        self.execution.check(_RUN_FIELDS)
        for file in self.files.values():
            file.check(_FILE_FIELDS)
        for task in self.tasks.values():
            task.check(_TASK_FIELDS)
        for one in self.executions.values():
            one.check(_EXECUTION_FIELDS)
            one.inner("command", _COMMAND_FIELDS)
        for machine in self.execution.items("machines"):
            machine.check(_MACHINE_FIELDS)
            machine.inner("cpu", _CPU_FIELDS)

    def order(self) -> list[str]:
        """The tasks, parents before children; of those that could come next, the document's order."""
        producers: dict[str, list[str]] = {}
        for key, outputs in self.outputs.items():
            for output in outputs:
                producers.setdefault(output, []).append(key)
        parents: dict[str, set[str]] = {}
        for key, task in self.tasks.items():
            parents.setdefault(key, set()).update(self._known(task, "parents"))
            for child in self._known(task, "children"):
                parents.setdefault(child, set()).add(key)
            for file in self.inputs[key]:  # of several producers the document alone knows the order
                if len(producers.get(file, [])) == 1:
                    parents[key].update(set(producers[file]) - {key})
        place = {key: at for at, key in enumerate(self.tasks)}
        sorter = TopologicalSorter(parents)
        try:
            sorter.prepare()
        except CycleError as error:
            cycle = " → ".join(reversed(error.args[1]))
            where = f"{self.document.path}, workflow.specification.tasks"
            raise InputError(
                f"{where} has a cycle, {cycle}; expected tasks that can run one after the other."
            ) from None
        order: list[str] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready(), key=place.__getitem__)
            order += ready
            sorter.done(*ready)
        return order

    def _known(self, task: _Field, name: str) -> list[str]:
        for field in task.items(name):
            if field.text() not in self.tasks:
                raise field.refuse("the id of a task")
        return task.texts(name)

    def drafts(self) -> list[Draft]:
        drafts = [self._draft(Operation.CREATE, self.name, self._run(), (), self.time_ns)]
        order = self.order()
        made: dict[str, int] = {}  # file → place of the draft that made what it holds now
        for file in self._initial(order):
            made[file] = len(drafts)
            drafts.append(
                self._draft(Operation.CREATE, f"{self.name}/{file}", self._file(file, None), (), self.time_ns)
            )
        for key in order:
            time_ns = self.time_ns
            execution = self.executions.get(key)
            if execution is not None:
                time_ns = execution.time_ns("executedAt") or time_ns
            entity = f"{self.name}/task/{key}"
            task = len(drafts)
            drafts.append(self._draft(Operation.CREATE, entity, self._task(key), (0,), time_ns))
            sources = [made[file] for file in self.inputs[key]]
            for file, source in zip(self.inputs[key], sources, strict=True):
                payload = {"kind": "workflow-use", "task": key}
                drafts.append(self._draft(Operation.USE, f"{self.name}/{file}", payload, (source, task), time_ns))
            references = refer(drafts, [task, *sources], entity.encode(), time_ns)
            for file in self.outputs[key]:
                operation = Operation.UPDATE if file in made else Operation.CREATE
                made[file] = len(drafts)
                drafts.append(self._draft(operation, f"{self.name}/{file}", self._file(file, key), references, time_ns))
        self._refuse_same_names()
        return drafts

    def _initial(self, order: list[str]) -> list[str]:
        """Files that are read before a task has written them, and files that no task names."""
        written: set[str] = set()
        initial: dict[str, None] = {}
        for key in order:
            initial.update((file, None) for file in self.inputs[key] if file not in written)
            written.update(self.outputs[key])
        initial.update((file, None) for file in self.files if file not in written)
        return list(initial)

    def _refuse_same_names(self) -> None:
        tasks = {f"task/{key}" for key in self.tasks}
        named = [*self.inputs.values(), *self.outputs.values(), self.files]
        for file in (file for files in named for file in files):
            if file in tasks:
                where = f"{self.document.path}, workflow.specification.files"
                raise InputError(f"{where} has the id {file!r}, which is the name of a task's entity; rename the file.")

    def _draft(
        self,
        operation: Operation,
        entity: str,
        payload: dict[str, Any],
        references: tuple[int | bytes, ...],
        time_ns: int,
    ) -> Draft:
        if len(entity.encode(errors="replace")) > ENTITY_BYTES_MAX:
            raise InputError(
                f"{self.document.path}: the name {entity[:80]!r}… is longer than {ENTITY_BYTES_MAX} bytes."
            )
        try:
            return Draft(operation, entity.encode(), json_payload(payload), PayloadType.JSON, references, time_ns)
        except ValueError as error:
            raise InputError(
                f"{self.document.path}: what it says of {entity!r} is not valid JSON text ({error})."
            ) from None

    def _run(self) -> dict[str, Any]:
        payload = {name: value for name, value in self.document.value.items() if name != "workflow"}
        workflow = self.document.need("workflow").value
        payload |= {name: value for name, value in workflow.items() if name not in ("specification", "execution")}
        payload |= {name: value for name, value in self.execution.value.items() if name != "tasks"}
        return payload | {"kind": "workflow", "tasks": len(self.tasks), "files": len(self.files)}

    def _task(self, key: str) -> dict[str, Any]:
        task = self.tasks[key].value
        payload: dict[str, Any] = {name: task[name] for name in ("id", "name", "parents", "category") if name in task}
        if key in self.executions:
            payload |= self.executions[key].value
        return payload | {"kind": "workflow-task"}

    def _file(self, file: str, task: str | None) -> dict[str, Any]:
        payload: dict[str, Any] = {"id": file}
        if file in self.files:
            payload |= self.files[file].value
        if task is not None:
            payload["task"] = task
        return payload | {"kind": "workflow-file"}
