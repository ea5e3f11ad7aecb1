"""The command line: one file for each command. No other room imports it."""
