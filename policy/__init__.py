"""The nouns and the decisions about them, pure: no I/O, no clock of its own, no Prefect.

Invariant: everything here is a function of its arguments, so a decision can be replayed and proven.
"""
