"""The ledger: the one truth about requests, runs, steps, leases and what is still to be told."""
