"""The worker: takes evaluation jobs, measures each in a confined process, and signs what came out. Knows no HTTP."""
