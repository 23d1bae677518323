"""Create or renew the administrator's account; the password comes by standard input, never as an argument."""

import sys

import bcrypt
from kinto.plugins.accounts.scripts import create_user
from pyramid.paster import bootstrap

ini, name = sys.argv[1:]
password = sys.stdin.read().rstrip("\n")
environment = bootstrap(ini)
storage = environment["registry"].storage
found = storage.list_all(resource_name="account", parent_id=name)
if found and bcrypt.checkpw(password.encode(), found[0]["password"].encode()):
    sys.exit(0)
code = create_user(environment, name, password)
sys.stdout.write("created\n")
sys.exit(code)
