"""Migrate the database that the settings name; with `--look` only say whether that is needed."""

import sys
from pathlib import Path

import ihatemoney
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

if sys.argv[1:] != ["--look"]:
    # Making the application migrates its database.
    from ihatemoney.run import create_app

    create_app()
    sys.exit(0)

from flask import Config as Settings

settings = Settings("/")
settings.from_envvar("IHATEMONEY_SETTINGS_FILE_PATH")
config = Config()
config.set_main_option("script_location", str(Path(ihatemoney.__file__).parent / "migrations"))
wanted = ScriptDirectory.from_config(config).get_current_head()
with create_engine(settings["SQLALCHEMY_DATABASE_URI"]).connect() as connection:
    found = MigrationContext.configure(connection).get_current_revision()
if found != wanted:
    sys.stdout.write(f"would migrate from {found} to {wanted}\n")
