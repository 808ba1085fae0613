from __future__ import annotations
from baash.protocol.coordinator import Coordinator
FRAUDS: dict = {"none": None}
def coordinator(sim, job):
    return Coordinator
