"""``baash verify`` in which one rank goes wrong: ``audit_fails.py HOW RANK verify LEDGER …``.

HOW: ``killed`` (by a signal, while it examines its second round), ``raises`` (in its own part), ``blind`` (does not see the ledger).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

how, rank = sys.argv[1], int(sys.argv[2])
del sys.argv[1:3]

from baash.mpi import ending  # noqa: E402

if ending.rank_here() == rank:
    from baash.ledger.audit.examine import Examiner
    from baash.ledger.audit.share import Share
    from baash.ledger.reader import Ledger

    examine, take, opened = Examiner.examine, Share.take, Ledger.__init__

    def killed(self: Examiner, index: int) -> Any:
        if index > rank:
            os.kill(os.getpid(), signal.SIGKILL)
        return examine(self, index)

    def raises(self: Share, index: int, *rest: Any) -> None:
        if index > 1:
            raise RuntimeError("a mistake of ours")
        take(self, index, *rest)

    def blind(self: Ledger, path: Path, *rest: Any, **more: Any) -> None:
        opened(self, Path(path).parent / "elsewhere", *rest, **more)

    if how == "killed":
        Examiner.examine = killed  # type: ignore[method-assign]
    elif how == "raises":
        Share.take = raises  # type: ignore[method-assign]
    elif how == "blind":
        Ledger.__init__ = blind  # type: ignore[method-assign]

from baash.cli import main  # noqa: E402

main()
