"""The petapter command line and its remotes: train, push, pull, search, predict."""
