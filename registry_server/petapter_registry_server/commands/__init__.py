"""Groups of console commands on a data directory."""
