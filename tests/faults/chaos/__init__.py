"""Random faults against the whole service, with the processes, clients and checks of the fault
tests."""
