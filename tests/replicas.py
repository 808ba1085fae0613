"""Holds what nodes keep in memory against the chain: every byte they have must be the ledger's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from worlds import World

from baash.ledger.reader import Ledger
from baash.protocol.coordinator import Coordinator
from baash.protocol.replica import Replica
from baash.protocol.validator import Validator
from baash.records import BLOCK_ROW

Chain = Callable[[int], tuple[np.void, np.ndarray]]  # height → row, records


def chain_of_ledger(ledger: Ledger) -> Chain:
    return lambda height: ((block := ledger.block(height)).row, block.records)


def chain_of_world(world: World) -> Chain:
    """What a made-up world wrote, segment by segment."""
    rows, heaps = [], []
    for segment in sorted({segment for segment, name in world.files if name == "block_headers"}):
        found = np.frombuffer(bytes(world.files[segment, "block_headers"]), dtype=BLOCK_ROW)
        heaps += [np.frombuffer(bytes(world.files[segment, "records"]), dtype=np.uint8)] * len(found)
        rows.append(found)
    chain = np.concatenate(rows)

    def at(height: int) -> tuple[np.void, np.ndarray]:
        start = int(chain["records_offset"][height])
        return chain[height], heaps[height][start : start + int(chain["bytes"][height])]

    return at


def check(replica: Replica, chain: Chain) -> int:
    """AssertionError where the replica is not the chain; how many blocks it holds."""
    assert replica.bytes <= replica.bytes_max
    last = -1
    for piece in replica.pieces:
        heights = piece.rows["height"].tolist()
        assert heights == list(range(piece.first, piece.first + len(piece))) and piece.first > last
        last = heights[-1]
        assert len(piece.offsets) == len(piece) + 1 and len(piece.starts) == piece.transactions + 1
        info = piece.info
        assert (piece.starts[:-1] == info["start"] + np.uint64(piece.offsets[0])).all()
        for i, view in enumerate(piece.views()):
            row, records = chain(heights[i])
            mine = piece.rows[i].copy()
            mine["records_offset"] = row["records_offset"]
            assert mine.tobytes() == row.tobytes() and bytes(view) == records.tobytes(), heights[i]
    return len(replica)


def check_nodes(nodes: dict[int, Coordinator | Validator], chain: Chain) -> dict[int, int]:
    """By node: how many blocks it holds."""
    return {number: check(node.replica, chain) for number, node in nodes.items()}


__all__ = ["Chain", "chain_of_ledger", "chain_of_world", "check", "check_nodes"]
