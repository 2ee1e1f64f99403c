"""The models of the service: their list, and commands that a worker carries out."""
