"""What happens on the hosts."""
