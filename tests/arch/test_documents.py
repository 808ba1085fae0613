"""What the documents say exists, exists; what they say of the layout is what ``records`` does."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from baash import records

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FORMAT = (ROOT / "docs/ledger-format.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name} links to {target}, and {file.name} has no such heading"


# Where docs/ledger-format.md describes each layout: (dtype, text before the first field, text after the last).
# None for the end: the description is a table with offsets, up to the next empty line.
DESCRIBED: list[tuple[str, str, str | None]] = [
    ("TRANSACTION", "## 3. Transaction", "\n| 64 |"),
    ("BLOCK_CONTENT", "**Content** (type 03, 48 bytes) = ", ",\n"),
    ("BLOCK_HEADER", "A row of `block_headers` is 128 bytes; the first 112", None),
    ("BLOCK_ROW", "A row of `block_headers` is 128 bytes", None),
    ("WINDOW", "**Window** (type 05, 208 bytes): ", ".\n"),
    ("ATTEMPT", "**Attempt** (type 06): ", ", then "),
    ("VOTE", "**Vote** (type 08, 128 bytes): ", ";"),
    ("BLOCK_ENTRY", "block_count entries of 40 bytes (", "), in order"),
    ("CERTIFICATE", "**Certificate** (type 09): head of 32 bytes: ", ";"),
    ("ROUND_BODY", "**Round body** (type 0A): head of 16 bytes ", ";"),
    ("ROUND_WINDOW", "window_count rows of 64 bytes: ", ";"),
    ("ROUND_CLUSTER", "cluster_count rows of 48 bytes: ", "(zeros: none)"),
    ("REJECTION", "**Rejections**: rows of 64 bytes: ", "."),
    ("COMMIT_RECORD", "**Commit record** (type 0C), the first 256 bytes", None),
    ("COMMIT_SIGNATURE", "signature of 72 bytes for each coordinator of the view, ascending by node:\n", ", context"),
]
FIELD = re.compile(r"`((?:[0-9A-F]{2} ?)+)`|u(\d) (\w+)|h32 (\w+)|(\d+) (?:zero )?bytes(?: (\w+))?")


def fields(text: str) -> list[tuple[int, str]]:
    """(bytes, name) of each field that ``text`` names in order; a literal's name is its bytes."""
    found = []
    for literal, number, number_name, hash_name, count, bytes_name in FIELD.findall(text):
        if literal:
            found.append((len(literal.split()), literal))
        elif number:
            found.append((int(number), number_name))
        elif hash_name:
            found.append((32, hash_name))
        else:
            found.append((int(count), bytes_name))
    return found


def described(start: str, end: str | None) -> list[tuple[int, int, str]]:
    """(offset, bytes, name) of each field, in order of offset."""
    text = FORMAT[FORMAT.index(start) + len(start) :]
    if end is not None and not start.startswith("##"):
        offset, rows = 0, []
        for size, name in fields(text[: text.index(end)]):
            rows.append((offset, size, name))
            offset += size
        return rows
    table = text[text.index("| offset |") :]
    table = table[: table.index("\n\n" if end is None else end)]
    rows = []
    for line in table.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for at, cell in pairwise(cells):
            if at.isdigit():
                offset = int(at)
                for size, name in fields(cell)[: 2 if cell.startswith("`") else 1]:
                    rows.append((offset, size, name))
                    offset += size
    return sorted(rows)


@pytest.mark.parametrize(
    ("name", "start", "end"), [row for row in DESCRIBED if row[1]], ids=lambda value: str(value)[:16]
)
def test_layout_is_as_described(name: str, start: str, end: str | None) -> None:
    dtype: np.dtype[np.void] = getattr(records, name)
    assert dtype.names is not None and dtype.fields is not None
    layout = {dtype.fields[field][1]: (field, dtype.fields[field][0].itemsize) for field in dtype.names}
    reached = 0
    for offset, size, word in described(start, end):
        if offset >= dtype.itemsize:
            continue  # the header is the first part of its row
        assert offset == reached, f"{name}: the page has nothing, or two things, at {reached}"
        inside = {at: field for at, field in layout.items() if offset <= at < offset + size}
        assert sum(width for _, width in inside.values()) == size, f"{name}: {word} at {offset} is not {size} bytes"
        if not re.fullmatch(r"(?:[0-9A-F]{2} ?){2,}", word):
            assert len(inside) == 1, f"{name}: {word} at {offset} is several fields"
            if word in dtype.names and dtype[word].itemsize == size:
                assert layout[offset][0] == word, f"{name}: {word} lies elsewhere"
        reached = offset + size
    assert reached == dtype.itemsize
    stated = re.search(r"(\d+) bytes", start)
    assert stated is None or int(stated[1]) == dtype.itemsize or name == "BLOCK_HEADER"


def test_every_layout_is_described() -> None:
    layouts = {name for name, value in vars(records).items() if isinstance(value, np.dtype)}
    layouts.remove("TRANSACTION_INFO")  # lives in memory only
    assert layouts == {name for name, _, _ in DESCRIBED} | {"COMMIT_LOCATOR"}


def test_commit_slot() -> None:
    assert "the locator (8 × u8" in FORMAT
    assert [records.COMMIT_LOCATOR[at].itemsize for at in range(len(records.COMMIT_LOCATOR))] == [8] * 8
    assert "⌈(352 + 72 × coordinators) / 512⌉ × 512" in FORMAT
    for coordinators in range(1, 200):
        assert records.slot_bytes(coordinators) == -(-(352 + 72 * coordinators) // 512) * 512


def section(number: int) -> str:
    return re.split(r"^## \d+\. ", FORMAT, flags=re.M)[number]


def named(text: str) -> dict[str, int]:
    return {name.strip(): int(value) for value, name in re.findall(r"\b(\d+) ([A-Z][A-Z_]+)\b", text)}


def test_numbers_are_as_described() -> None:
    reasons = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", section(9), re.M)
    assert {name: int(value) for value, name in reasons} == {reason.name: reason.value for reason in records.Reason}

    operations = re.search(r"u1 operation \|(.*)\|", section(3))
    assert operations and named(operations[1]) == {one.name: one.value for one in records.Operation}

    tags = re.findall(r"\| ([0-9A-F]{2}) \| ([a-z ]+) (?=\|)", section(2))
    assert sorted(int(value, 16) for value, _ in tags) == sorted(records.Tag)

    assert f"1 … {records.ENTITY_BYTES_MAX:,}" in section(3)
    assert f"at most {records.PAYLOAD_BYTES_MAX:,}" in section(3)
    assert f"at most {records.REFERENCES_MAX:,}" in section(3)
    assert f"0 … {records.SHARD_COUNT - 1:,}" in section(3)


def test_limits_are_as_described() -> None:
    rows = re.findall(r"\| ([\d,]+)(?: bytes)? \| `(\w+)` \|", (ROOT / "docs/limits.md").read_text())
    assert {name for _, name in rows} >= {name for name in vars(records) if name.endswith("_MAX")}
    assert {name: int(number.replace(",", "")) for number, name in rows} == {
        name: getattr(records, name) for _, name in rows
    }
