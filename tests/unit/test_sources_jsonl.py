"""JSON Lines: what a line may say, what each mistake is answered with, stop and skip."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_sources_replay import entity, joined, payload, references, replay

from baash import sources
from baash.errors import InputError
from baash.records import ANY_VERSION, Operation, PayloadType
from baash.sources.jsonl import LINE_BYTES_MAX, parse_line
from baash.sources.times import rfc3339, workflow_time

GOOD = '{"op": "create", "entity": "a"}'
ID = "ab" * 32

MISTAKES = [
    ("nonsense", "column 1: not JSON"),
    ('{"op": "create", "entity": "a"', "column 31: not JSON"),
    ("[1]", "[1] is not a JSON object; expected one with the fields entity and op"),
    ("{}", "field 'op' is missing; expected one of create, update, use, retire, note"),
    ('{"op": "delete", "entity": "a"}', "field 'op' is \"delete\"; expected one of create, update, use, retire, note"),
    ('{"op": "CREATE", "entity": "a"}', "field 'op' is \"CREATE\"; expected one of"),
    ('{"op": ["use"], "entity": "a"}', "field 'op' is [\"use\"]; expected one of"),
    ('{"op": "use"}', "field 'entity' is missing; expected a name of 1 to 4096 bytes"),
    ('{"op": "use", "entity": ""}', "field 'entity' is \"\"; expected a name of 1 to 4096 bytes, not 0"),
    ('{"op": "use", "entity": 7}', "field 'entity' is 7; expected a name"),
    (json.dumps({"op": "use", "entity": "é" * 2049}), "expected a name of 1 to 4096 bytes, not 4098"),
    ('{"op": "use", "entity": "\\ud800"}', "lone surrogates"),
    ('{"op": "use", "entity": "a", "color": 1}', 'field "color" is not known; expected entity, op, payload'),
    ('{"op": "use", "entity": "a", "entity": "b"}', 'field "entity" is there twice'),
    ('{"op": "use", "entity": "a", "payload": {"x": 1, "x": 2}}', 'field "x" is there twice'),
    ('{"op": "use", "entity": "a", "payload": NaN}', "NaN is not JSON"),
    ('{"op": "use", "entity": "a", "payload": 1e999}', "a number beyond all bounds"),
    ('{"op": "use", "entity": "a", "payload": "\\udc00"}', "field 'payload' holds a lone surrogate"),
    ('{"op": "use", "entity": "a", "payload": 1, "payload_base64": ""}', "expected one of them at most"),
    ('{"op": "use", "entity": "a", "payload_base64": "abc"}', "field 'payload_base64' is \"abc\"; expected base64"),
    ('{"op": "use", "entity": "a", "payload_base64": 5}', "field 'payload_base64' is 5; expected base64"),
    ('{"op": "use", "entity": "a", "references": "x"}', "field 'references' is \"x\"; expected a list"),
    ('{"op": "use", "entity": "a", "references": ["x"]}', "field 'references[0]' is \"x\"; expected a transaction id"),
    (f'{{"op": "use", "entity": "a", "references": ["{ID}", "{"g" * 64}"]}}', "field 'references[1]'"),
    (
        json.dumps({"op": "use", "entity": "a", "references": [ID] * 4097}),
        "has 4097 entries; expected a list of at most",
    ),
    ('{"op": "use", "entity": "a", "expected_version": 1}', "goes with op update and retire only"),
    (
        '{"op": "update", "entity": "a", "expected_version": -1}',
        "field 'expected_version' is -1; expected a whole number",
    ),
    ('{"op": "update", "entity": "a", "expected_version": 1.0}', "field 'expected_version' is 1.0"),
    ('{"op": "update", "entity": "a", "expected_version": true}', "field 'expected_version' is true"),
    (f'{{"op": "update", "entity": "a", "expected_version": {ANY_VERSION}}}', "expected a whole number from 0 to"),
    ('{"op": "use", "entity": "a", "time": "2025-03-01"}', "expected an RFC 3339 time such as"),
    ('{"op": "use", "entity": "a", "time": "2025-02-30T00:00:00Z"}', "no such time"),
    ('{"op": "use", "entity": "a", "time": "1969-12-31T23:59:59Z"}', "expected a time from 1970 on"),
    (
        '{"op": "use", "entity": "a", "time": 1.5}',
        "field 'time' is 1.5; expected an RFC 3339 time or whole nanoseconds",
    ),
    ('{"op": "use", "entity": "a", "time": -1}', "field 'time' is -1"),
    ("[" * 100_000, "nested too deeply"),
]


def written(tmp_path: Path, *lines: str | bytes) -> Path:
    path = tmp_path / "input.jsonl"
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return path


@pytest.mark.parametrize(("line", "said"), MISTAKES, ids=[said[:40] for _, said in MISTAKES])
def test_mistakes_name_file_line_field_and_what_was_expected(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path, GOOD, "", line)
    with pytest.raises(InputError) as caught:
        sources.open_input(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1: byte 8 is not UTF-8"):
        sources.open_input(written(tmp_path, b'{"op": \xff}'))


def test_skip_leaves_out_malformed_lines_and_lists_them(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, *(line for line, _ in MISTAKES), "", GOOD.replace('"a"', '"b"'))
    source = sources.open_input(path, on_error="skip")
    assert source.total == 2
    for size in (1, 5, 1000):
        found, _, skipped = joined(source, size)
        assert len(skipped) == len(MISTAKES)
        assert all(f"line {number}:" in said for number, said in enumerate(skipped, start=2))
        # a number is the line's place, so that mending a line moves no other
        assert found.info["sequence"].tolist() == [0, len(MISTAKES) + 2]


def test_all_that_a_line_may_say(tmp_path: Path) -> None:
    lines = [
        {"op": "create", "entity": "é/ü", "payload": {"b": [1, 10**30, 0.1], "a": None}, "time": 5},
        {
            "op": "update",
            "entity": "é/ü",
            "payload_base64": "AAEC/w==",
            "expected_version": 1,
            "references": [ID, ID.upper()],
        },
        {"op": "use", "entity": "é/ü", "time": "2025-03-01T14:00:00.000000001+02:00"},
        {"op": "note", "entity": "x", "payload": None},
        {"op": "retire", "entity": "é/ü", "expected_version": 2**64 - 2},
    ]
    found, _, _ = joined(sources.open_input(written(tmp_path, *map(json.dumps, lines))))
    assert found.info["operation"].tolist() == [1, 2, 3, 5, 4]
    assert entity(found, 0) == "é/ü"
    assert payload(found, 0) == b'{"a":null,"b":[1,1000000000000000000000000000000,0.1]}'
    assert payload(found, 1) == b"\x00\x01\x02\xff" and payload(found, 2) == b"" and payload(found, 3) == b"null"
    assert found.info["payload_type"].tolist() == [PayloadType.JSON, 0, 0, PayloadType.JSON, 0]
    assert references(found, 1) == [bytes.fromhex(ID)] * 2
    assert found.info["expected_version"].tolist() == [ANY_VERSION, 1, ANY_VERSION, ANY_VERSION, 2**64 - 2]
    start = int(found.info["start"][2])
    assert int.from_bytes(found.records[start + 40 : start + 48].tobytes(), "little") == 1740830400 * 10**9 + 1


def test_a_copy_is_the_same_source_and_a_name_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    copy = tmp_path / "copy.ndjson"
    copy.write_bytes(path.read_bytes())
    assert sources.open_input(path).name == sources.open_input(copy).name
    assert sources.open_input(path).name.startswith("jsonl:sha256:")
    assert sources.open_input(path, name="mine").name == "mine"


def test_a_file_that_grows_under_one_name_goes_on_where_it_was(tmp_path: Path) -> None:
    first, _, _ = joined(sources.open_input(written(tmp_path, GOOD), name="log"))
    more, _, _ = joined(sources.open_input(written(tmp_path, GOOD, GOOD.replace("create", "use")), name="log"))
    assert more.records[: len(first.records)].tobytes() == first.records.tobytes()


def test_an_input_that_changes_after_the_check_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    source = sources.open_input(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match="changed after it was checked"):
        list(source.chunks(10))


def test_an_empty_file_and_a_missing_one(tmp_path: Path) -> None:
    source = sources.open_input(written(tmp_path))
    assert source.total == 0 and list(source.chunks(5)) == []
    with pytest.raises(InputError, match="cannot be read: No such file"):
        sources.open_input(tmp_path / "none.jsonl")


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.truncate(LINE_BYTES_MAX + 10)
    with pytest.raises(InputError, match=f"line 1 has more than {LINE_BYTES_MAX} bytes"):
        sources.open_input(path)


def test_the_largest_payload_fits_and_one_byte_more_does_not() -> None:
    import base64

    for count, good in ((16 << 20, True), ((16 << 20) + 1, False)):
        line = b'{"op":"note","entity":"a","payload_base64":"' + base64.b64encode(bytes(count)) + b'"}'
        assert len(line) < LINE_BYTES_MAX
        if good:
            assert len(parse_line(line).payload) == count
        else:
            with pytest.raises(ValueError, match="has 16777217 bytes; expected at most 16777216"):
                parse_line(line)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_payloads_come_back_equal(value: object) -> None:
    try:
        line = json.dumps({"op": "note", "entity": "a", "payload": value}, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    draft = parse_line(line)
    assert draft.operation == Operation.NOTE
    assert json.loads(draft.payload) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_a_draft_or_a_refusal(line: bytes) -> None:
    try:
        parse_line(line)
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2025-03-01t12:00:00z", 1740830400 * 10**9),
        ("2025-03-01T12:00:00.5+00:00", 1740830400 * 10**9 + 5 * 10**8),
        ("2025-03-01T12:00:00.123456789123-01:30", (1740830400 + 5400) * 10**9 + 123456789),
    ],
)
def test_rfc3339(text: str, nanoseconds: int) -> None:
    assert rfc3339(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("20200401T041258+0000", 1585714378 * 10**9),
        ("03-23-21T05:57:15Z", 1616479035 * 10**9),
        ("2023-03-21T13:21:06-10:00", 1679440866 * 10**9),
        ("2021-03-23T06:27:33.328018", 1616480853 * 10**9 + 328018000),
        ("2021-03-23", 1616457600 * 10**9),
    ],
)
def test_workflow_times(text: str, nanoseconds: int) -> None:
    assert workflow_time(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "yesterday", "2025-13-01", "99-99-99T00:00:00Z", "2025-03-01T12:00:00+99:00"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|no such"):
        workflow_time(text)


def test_records_do_not_depend_on_what_is_encoded_with_them(tmp_path: Path) -> None:
    lines = [
        json.dumps({"op": "note", "entity": f"e{n}", "payload": n, "references": [ID] * (n % 3)}) for n in range(50)
    ]
    source = sources.open_input(written(tmp_path, *lines))
    whole = joined(source, 50)[0].records
    assert all(np.array_equal(joined(source, size)[0].records, whole) for size in (1, 3, 49))


ROOT = Path(__file__).resolve().parents[2]
BLOCKS = dict.fromkeys(re.findall(r"```(jsonl|python)\n(.*?)```", (ROOT / "docs" / "sources.md").read_text(), re.S))


@pytest.mark.parametrize(
    ("language", "text"), BLOCKS, ids=[f"{language}-{n}" for n, (language, _) in enumerate(BLOCKS)]
)
def test_the_examples_in_the_documentation_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str, text: str
) -> None:
    if language == "python":
        monkeypatch.chdir(ROOT)
        exec(compile(text, "docs/sources.md", "exec"), {})
    else:
        found, _, _ = joined(sources.open_input(written(tmp_path, text)))
        assert replay(found) == [] and len(found) == text.count("\n")
