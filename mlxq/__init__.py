"""The command line and the one-machine service: what a person starts. Speaks to the API over
HTTP alone."""
