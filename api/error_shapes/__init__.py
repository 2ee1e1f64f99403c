"""The bodies and statuses of errors as the clients of other APIs read them."""
