"""One verb each: a step looks, acts and takes back. Ansible's own tasks live in playbooks/roles/*/tasks."""
