"""The commands of `petapter`, one file each; every file imports what it needs inside its function, to start fast."""
