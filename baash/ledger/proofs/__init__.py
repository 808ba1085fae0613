"""What of a ledger can be given away and checked without it: checkpoints, proofs, and what witnesses sign."""
