"""The trace of a run: what happened to each node and what it did about it, so that anybody can play it again (``docs/trace.md``).

``frames.py``: the file. ``happened.py``: events as bytes and back, effects as digests. ``recorder.py``: written while a run goes.
It is played again by ``sim/check_trace.py``. A trace is no part of the ledger, and no ledger needs one.
"""
