"""End-to-end tests: real senders, raw sockets and a real MTA around the running gateway. run.py is the way in."""
