"""Other people's TCP/IP against ours, for real: see README.md."""
