"""Jobs on their way in and out of this worker: RQ, leases, crashes, the token log, status."""
