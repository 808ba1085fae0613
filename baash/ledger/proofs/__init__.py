"""What of a ledger can be given away and checked without it: checkpoints, proofs, and what witnesses sign.

``notes`` and ``policy`` are C2SP's formats, ``checkpoint`` what a ledger signs, ``tree`` paths in the log, ``form`` the files,
``views`` and ``votes`` what is in them of view records and certificates; ``making``, ``checking``, ``history`` and ``witness``
are what one does with them, ``words`` says it. ``docs/proofs.md`` describes every file to the byte.
"""
