"""Batch functions over buffers: hashes, trees, blocks, votes, transactions, state, index files. The room that knows ``_core``.

Whole batches go in and come out; no function looks at a single item in Python. The C behind them (``csrc/``) runs without the GIL.
Hashes are (n, 32) u1. Bytes may be ``bytes``, a memoryview or a C-contiguous array of any type, read-only too. Where there is a
``kernel``, it is a name from ``available()``; None is the one in use. A ValueError means the caller's shapes, offsets or values
are wrong, and nothing outside a buffer is ever read. ``KernelUnavailable`` can come from every function that hashes.
"""

from baash.kernels.arrays import ACT
from baash.kernels.blocks import chain_blocks, check_headers, content_digests, match_blocks, tally
from baash.kernels.dispatch import KernelInfo, available, current, select
from baash.kernels.hashing import hash_rows, openmp, sha256_batch, sha256_spans
from baash.kernels.index import IndexTable, PageFault, index_merge, index_records, index_seal
from baash.kernels.recount import ViewRules
from baash.kernels.rules import (
    Applied,
    Taken,
    apply_transactions,
    check_transactions,
    follow_rules,
    pair_prints,
    take_acts,
)
from baash.kernels.tables import EntityTable, ReplayTable
from baash.kernels.transactions import Room, encode, entity_hashes, gather, read, scan, transaction_ids
from baash.kernels.trees import log_append, log_root, merkle_path, merkle_paths, merkle_root_from_path, merkle_roots
from baash.kernels.walk import Stop, Walk
from baash.kernels.windows import WindowForm, check_window

__all__ = [
    "ACT",
    "Applied",
    "EntityTable",
    "IndexTable",
    "KernelInfo",
    "PageFault",
    "ReplayTable",
    "Room",
    "Stop",
    "Taken",
    "ViewRules",
    "Walk",
    "WindowForm",
    "apply_transactions",
    "available",
    "chain_blocks",
    "check_headers",
    "check_transactions",
    "check_window",
    "content_digests",
    "current",
    "encode",
    "entity_hashes",
    "follow_rules",
    "gather",
    "hash_rows",
    "index_merge",
    "index_records",
    "index_seal",
    "log_append",
    "log_root",
    "match_blocks",
    "merkle_path",
    "merkle_paths",
    "merkle_root_from_path",
    "merkle_roots",
    "openmp",
    "pair_prints",
    "read",
    "scan",
    "select",
    "sha256_batch",
    "sha256_spans",
    "take_acts",
    "tally",
    "transaction_ids",
]
