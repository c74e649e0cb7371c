"""The thin side: clients that need no torch."""
