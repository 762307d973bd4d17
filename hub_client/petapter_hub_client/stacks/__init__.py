"""Stacks: the modules that are served together, as stack.yaml names them and stack.lock fixes them."""
