"""The world and how to reach it: settings, the estate's file, the ledger, PostgreSQL, SQS, Ansible, mail.

Invariant: nothing here imports Prefect; a wrong or absent Prefect changes what is shown, never what is done.
"""
