"""Train few-shot classification modules on a frozen masked language model and run many of them together."""
