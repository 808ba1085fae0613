from __future__ import annotations
from baash.protocol.validator import Validator
DECEITS: dict = {}
def validator(sim, job):
    return Validator
