"""BAASH: a ledger for machines that compute together. Importing it starts neither MPI nor HDF5."""

__version__ = "0.1.0"
