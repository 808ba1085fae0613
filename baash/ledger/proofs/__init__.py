"""What of a ledger can be given away and checked without it: checkpoints, proofs, and what witnesses sign.

``notes`` and ``policy`` are C2SP's formats, ``checkpoint`` what a ledger signs, ``tree`` paths in the log, ``form`` the files,
``views`` who may sign; ``making``, ``checking``, ``history`` and ``witness`` are what one does with them. ``docs/proofs.md``
describes every file to the byte.
"""
