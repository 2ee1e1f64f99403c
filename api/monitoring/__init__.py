"""What operators see: status, history, metrics, usage and RQ's dashboard."""
