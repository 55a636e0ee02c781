"""Interoperability: real MTAs and clients on both sides of the gateway. README.md says what is run."""
