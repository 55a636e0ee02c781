"""The lab: namespaces, a real Postfix, a real resolver with real zones, and the gateway between them (README.md here)."""
