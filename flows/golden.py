"""Golden: a customer's masked images are built anew, for refreshes to be cloned from."""

from __future__ import annotations

from prefect import flow

from tasks.golden_run import run_build


@flow(name="golden", persist_result=False)
def golden(customer: str, server: str = "") -> None:
    """Read Production once, and give each of the customer's other sites a masked, proven image.

    Args:
        customer: the customer's short name.
        server: only the images on this database server; all of them when empty.
    """
    run_build(customer, server)
