"""What a validator signed: one answer an attempt, and asked again it gives the same.

Theory. Two answers of one node to one attempt prove that it lies (``evidence.py``). A verdict alone would not hold a node to
its first answer: it is forgotten when the window is committed or too many are kept, and a coordinator that lies about a window's
content, or about what is in flight, and then asks again would get another. So the votes themselves are kept until their window is
decided; of windows that are decided nothing new is said, and beyond ``most`` votes the node falls silent instead of forgetting.
"""

from __future__ import annotations

import numpy as np

from baash.errors import PeerError


class Spoken:
    """The votes of one node on windows of one cluster that it does not know to be decided."""

    def __init__(self, most: int) -> None:
        self._most, self._decided = most, 0
        self._votes: dict[bytes, tuple[int, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self._votes)

    def given(self, attempt: bytes, number: int) -> np.ndarray | None:
        """The vote (VOTE row) that was given on ``attempt`` at window ``number``; None: say what you think. PeerError: say nothing."""
        found = self._votes.get(attempt)
        if found is not None:
            return found[1]
        if number < self._decided:
            raise PeerError(f"asked for a vote on window {number}, which is decided")
        if len(self._votes) >= self._most:
            raise PeerError(f"asked for more votes than the {self._most} that are kept")
        return None

    def keep(self, attempt: bytes, number: int, vote: np.ndarray) -> None:
        self._votes[attempt] = number, vote

    def decided(self, windows: int) -> None:
        """The windows below ``windows`` are decided: nothing is said of them any more."""
        if windows > self._decided:
            self._decided = windows
            self._votes = {a: (n, v) for a, (n, v) in self._votes.items() if n >= windows}
