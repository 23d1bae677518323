"""Offer a form in Prefect's pages for every open question, and close those that were answered elsewhere.

Invariant: a form too many finds its question answered and ends; one too few is made in the next round.
"""

from __future__ import annotations

from infra.ledger import forms, requests
from infra.ledger.forms import Form
from tasks.prefect_runs import make_run, withdraw_run
from tasks.world import World


def offer_forms(world: World) -> int:
    """One round.

    Returns:
        How many forms were made or closed.

    Raises:
        Unavailable: Prefect or the ledger does not answer; the next round makes up for it.
    """
    with world.ledger.transaction() as connection:
        pointless = forms.pointless(connection)
        wanted = [
            (question, requests.get(connection, question.request)) for question in forms.wanted(connection)
        ]
    for form in pointless:
        withdraw_run(world.settings.prefect_api, form.flow_run, "The question is not open any more.")
        with world.ledger.transaction() as connection:
            forms.close(connection, form.question)
    for question, request in wanted:
        flow_run = make_run(
            world.settings.prefect_api,
            "question/question",
            name=f"{request.id} {request.site} question",
            parameters={"request": str(request.id)},
            at=None,
            key=question.key,
            tags=[f"customer:{request.site.customer}", "question"],
        )
        with world.ledger.transaction() as connection:
            forms.remember(connection, Form(question=question, flow_run=flow_run))
    return len(pointless) + len(wanted)
