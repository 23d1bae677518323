"""Fills a demo site's Kinto database with records that look like those of a school district.

Invariant: made by the database alone and from the customer's name alone, so the same call gives the same
rows; every personal text of some rows holds a token that is found nowhere else, so that a leak can be found.
"""

from __future__ import annotations

import psycopg

from infra.stack.layout import PROJECT
from policy.errors import Refused
from policy.names import CustomerName

_SQL = PROJECT / "demo" / "records.sql"
# Common names, but none of those that masking gives out: a name of Production is recognised in a copy.
_GIVEN = """
Abigail Adrian Aisha Alejandro Alexis Alicia Amara Amelia Andrew Angela Ashley Aubrey Austin Beatriz
Benjamin Bethany Brandon Brianna Caleb Cameron Carlos Caroline Cassandra Catherine Charlotte Christopher
Courtney Daniela Danielle Deborah Derek Destiny Diego Dominic Eduardo Eleanor Elijah Elizabeth Emmanuel
Esperanza Ethan Evelyn Fatima Fernando Francisco Gabriel Genevieve Giovanni Grace Hannah Hector Imani
Isaac Isabella Jacqueline Jamal Jennifer Jeremiah Jessica Jonathan Josephine Kathryn Kayla Keisha
Kimberly Latoya Leonardo Lillian Madison Malik Margaret Marisol Matthew Mackenzie Melissa Michelle Miguel
Mohammed Monique Nathaniel Nicholas Olivia Patricia Penelope Priscilla Rachel Raymond Rebecca Roberto
Samantha Savannah Sebastian Serenity Shanice Sofia Stephanie Tamika Theodore Timothy Trinity Valentina
Vanessa Veronica Victoria Vincent Whitney Xavier Yolanda Zachary
"""
_FAMILY = """
Abernathy Aguilar Alvarado Anderson Armstrong Bautista Bennett Blackwood Bradshaw Buchanan Callahan
Campbell Cardenas Carmichael Castellano Chaudhry Christensen Cunningham Davenport Delacruz Delgado
Dominguez Donovan Escobar Espinoza Ferguson Fitzgerald Gallagher Gallegos Gutierrez Hamilton Harrington
Hawthorne Henderson Hernandez Hightower Holloway Huntington Iwasaki Jankowski Jefferson Kavanagh
Kowalczyk Lancaster Livingston MacDonald Maldonado Marchetti McAllister McKinley Middleton Montgomery
Nakamura Nakashima Okonkwo Oliveira O'Connor O'Sullivan Pemberton Pettigrew Ramachandran Richardson
Robertson Rodriguez Rosenberg Rutherford Saltonstall Sandoval Schwartzman Sheffield Stevenson Sutherland
Takahashi Tillman Underwood Valenzuela Vandermeer Villanueva Wadsworth Washington Weatherly Westbrook
Whitfield Williamson Winthrop Wojciechowski Yamamoto Zielinski
"""
_STREETS = """
Abbey_Road Bayview_Terrace Cathedral_Avenue Dogwood_Court Evergreen_Boulevard Foxglove_Way Gaslight_Alley
Heather_Crescent Inlet_Drive Jasmine_Circle Kingfisher_Row Lighthouse_Road Magnolia_Street
Northgate_Avenue Overlook_Drive Pinecrest_Road Quail_Run Rosewood_Lane Sycamore_Street Thistle_Hill_Road
Upland_Avenue Violet_Court Wharf_Street Yellowstone_Drive
"""
_CITIES = (
    "Lakeside",
    "Northport",
    "Fairhaven",
    "Millbrook",
    "Westhaven",
    "Cedarville",
    "Easton",
    "Brookfield",
)
# The hash of 256 random bits that nobody kept: these accounts are there to be masked, not to be used.
_PASSWORD = "$2b$12$qb/gZu.TiL2b5LOUJ6dToOV9jQ30d1A6lVy7qYfWUOyIG1wSmJU6i"  # noqa: S105 - of nothing


def canary(customer: CustomerName) -> str:
    """What every canary of `customer` contains, in any case of letters: it must never leave Production."""
    return f"canary{customer.replace('-', '')}"


def load_records(connection: psycopg.Connection, *, customer: CustomerName, records: int) -> None:
    """Write `records` records, their collections, some accounts and their permissions, and commit.

    Rows that are there already stay as they are.

    Args:
        connection: to the site's database, as its owner, after Kinto has created its tables.
        customer: decides every name and number.
        records: how many in all; students, guardians and staff.

    Raises:
        Refused: `records` is below three, or Kinto's tables are not there.
    """
    if records < 3:  # noqa: PLR2004 - one of each kind
        raise Refused("records: at least three, one student, one guardian and one of the staff")
    with connection.transaction():
        # The trigger looks for the newest row before every row: for as many at once that takes minutes.
        try:
            connection.execute("ALTER TABLE objects DISABLE TRIGGER USER")
        except psycopg.errors.UndefinedTable:
            raise Refused("the database holds no Kinto tables; run its migration first") from None
        connection.execute(
            _SQL.read_bytes(),
            {
                "customer": str(customer),
                "token": canary(customer),
                "records": records,
                "given": _GIVEN.split(),
                "family": _FAMILY.split(),
                "street": [street.replace("_", " ") for street in _STREETS.split()],
                "city": list(_CITIES),
                "password": _PASSWORD,
            },
        )
        connection.execute("ALTER TABLE objects ENABLE TRIGGER USER")
    connection.execute("ANALYZE objects, access_control_entries")
    connection.commit()
