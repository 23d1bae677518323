"""One sentence each, told in verbs. Prefect flows and nothing else."""
