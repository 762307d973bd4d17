"""The demo: the whole walk on one machine, with real programs and the data that lies in `data/`."""
