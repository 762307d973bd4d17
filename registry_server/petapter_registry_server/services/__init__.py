"""The rules of the registry; they know neither HTTP nor SQL statements."""
