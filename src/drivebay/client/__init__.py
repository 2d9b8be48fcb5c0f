"""The client side: a session with a drive service, transfers over it, and stored profiles."""
