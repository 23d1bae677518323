"""`freshet protection …`: draft a policy from a live schema, and prove one against it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import psycopg
import typer

from infra.estate_file import load_estate
from infra.postgres.classify import classify
from infra.postgres.compare import ready
from infra.postgres.conditions import check_conditions, check_probes
from infra.postgres.effect import Effect, UnknownKeys, effect, unknown_keys
from infra.postgres.schema import read_schema
from infra.postgres.selections import selections
from infra.postgres.session import connect
from infra.postgres.suggest import suggest_policy
from infra.protection_file import load_protection
from infra.secrets import SecretFiles
from infra.settings import settings
from policy.errors import Refused
from policy.names import CustomerName, SecretName
from portal.cli.output import answers, say, show_json, show_table

protection_app = typer.Typer(
    name="protection", help="What may leave Production, and in which form.", no_args_is_help=True
)

Customer = Annotated[str, typer.Argument(metavar="CUSTOMER", help="whose Production is looked at")]
Json = Annotated[bool, typer.Option("--json", help="for machines: stable keys")]


@protection_app.command("suggest")
@answers
def suggest(customer: Customer) -> None:
    """Draft a protection.yml from the schema of the customer's Production; read it before you use it."""
    with _production(CustomerName(customer)) as source:
        say(suggest_policy(source, read_schema(source)))


@protection_app.command("check")
@answers
def check(customer: Customer, as_json: Json = False) -> None:
    """Prove the application's policy against the customer's Production: columns, conditions, effect.

    Exit code 2 when a refresh would be refused, or when a transformer leaves values as they are.
    """
    name = CustomerName(customer)
    source_site = load_estate(settings().estate).source(name).site
    protection = load_protection(load_estate(settings().estate).webapp(source_site.id).application)
    key = SecretFiles(settings().secrets_dir).read(SecretName(f"mask-{name}"))
    with _production(name) as source:
        schema = read_schema(source)
        findings = list(classify(protection, schema))
        effects: tuple[Effect, ...] = ()
        unknown: tuple[UnknownKeys, ...] = ()
        if not findings:
            taken = selections(protection, schema)
            ready(source, key.get_secret_value())
            findings += check_conditions(source, taken, key)
            findings += check_probes(source, protection)
            if not findings:
                effects = effect(source, protection, schema, taken)
                unknown = unknown_keys(source, protection, schema, taken)
    findings += [each.finding for each in effects if each.finding]
    _show(effects, unknown, findings, as_json=as_json)
    if findings:
        raise Refused(*findings)


def _show(
    effects: tuple[Effect, ...], unknown: tuple[UnknownKeys, ...], findings: list[str], *, as_json: bool
) -> None:
    if as_json:
        show_json(
            {
                "valid": not findings,
                "findings": findings,
                "masked": [
                    {
                        "place": each.place,
                        "masks": list(each.masks),
                        "values": each.values,
                        "unchanged": each.unchanged,
                    }
                    for each in effects
                ],
                "unknown_keys": [{"place": each.place, "keys": list(each.keys)} for each in unknown],
            }
        )
        return
    show_table(
        ("masked", "by", "sampled", "unchanged"),
        [(each.place, ", ".join(each.masks), each.values, each.unchanged) for each in effects],
    )
    for each in unknown:
        say(f"{each.place}: keys without a rule stay behind: {', '.join(each.keys)}")
    if not findings:
        say("every column has a rule, and every condition and transformer works")


@contextmanager
def _production(customer: CustomerName) -> Iterator[psycopg.Connection[Any]]:
    """A session in the customer's Production, as the reader."""
    source = load_estate(settings().estate).source(customer)
    reader = source.server.reader
    if reader is None:
        raise Refused(f"database server '{source.server.name}': declare a reader login")
    secrets = SecretFiles(settings().secrets_dir)
    with connect(source.server, source.site.database, reader, secrets, run="protection") as session:
        session.read_only = True
        yield session
