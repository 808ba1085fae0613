"""Writes the seeds of csrc/fuzz/corpus/window: ``.venv/bin/python csrc/fuzz/seeds.py FOLDER``.

Windows as a coordinator forms them, with nothing to mend, and the same with all mended, so that a mutation of either kind begins
from one that is whole. What fuzz runs found beside these and was worth keeping lies there under other names.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from worlds import World, encode

from baash import batch as batches
from baash.keys import Context, PrivateKey
from baash.protocol.windows import form
from baash.records import Operation, key_issuer

CREATE, UPDATE, USE, RETIRE, NOTE = Operation


def signed(record: bytes) -> bytes:
    """An unsigned record with a key's issuer and signature."""
    key = PrivateKey.from_seed(b"s" * 32)
    total = (len(record) + 96).to_bytes(4, "little")
    body = (
        record[:4] + b"\1\0" + record[6:8] + total + record[12:16] + key_issuer(key.public) + record[32:] + key.public
    )
    return body + key.sign(Context.TRANSACTION, body)


def seeds() -> dict[str, tuple[int, bytes]]:
    """Name to (block size, records)."""
    ops = [CREATE, UPDATE, USE, RETIRE, NOTE]
    usual = encode(ops * 2, ["a", "a", "bb", "a", "ccccccccc"] * 2, payload=b"12345").records.tobytes()
    more = encode(CREATE, [f"e{i}" for i in range(9)], source="b").records.tobytes()
    one = encode(NOTE, ["n"]).records.tobytes()
    return {
        "usual": (4, usual),
        "one": (1, one),
        "notes": (3, encode(NOTE, list("abcde")).records.tobytes()),
        "two-issuers": (3, usual + more),
        "descending": (4, encode(CREATE, ["x"], first=20, source="b").records.tobytes() + more),
        "repeated": (3, usual + more + usual),
        "signed": (2, signed(one) + usual),
    }


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (block_size, records) in seeds().items():
        batch = batches.scan(np.frombuffer(records, dtype=np.uint8))[0]
        window = form(World(block_size=block_size).view, 0, 0, bytes(32), bytes(32), batch, 1)
        moved = window.entries.copy()  # a block's bytes said to be the next one's: the sum holds
        moved["bytes"][:2] += np.array([8, -8]).astype("<u4")[: len(moved)]
        for kind, mend, entries in (("true", 0, window.entries), ("mended", 31, window.entries), ("moved", 16, moved)):
            head = np.array([mend, block_size, len(entries), len(window.entities)], dtype="<u2").tobytes()
            parts = window.row.tobytes() + entries.tobytes() + window.entities.tobytes() + records
            if kind != "moved" or name == "notes":
                (folder / f"{name}-{kind}").write_bytes(head + parts)


main(Path(sys.argv[1]))
