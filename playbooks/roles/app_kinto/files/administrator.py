"""Make or renew each site's administrator; passwords come by standard input, never as an argument."""

import json
import sys

import bcrypt
from kinto.plugins.accounts.scripts import create_user
from pyramid.paster import bootstrap

name = sys.argv[1]
for ini, password in json.load(sys.stdin).items():
    environment = bootstrap(ini)
    found = environment["registry"].storage.list_all(resource_name="account", parent_id=name)
    if not found or not bcrypt.checkpw(password.encode(), found[0]["password"].encode()):
        if create_user(environment, name, password) != 0:
            sys.exit(f"{ini}: the account cannot be made")
        sys.stdout.write("created\n")
    environment["closer"]()
