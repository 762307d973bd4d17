"""Who made a module: keys, signatures, where they lie, and what a remote's policy asks of them."""
