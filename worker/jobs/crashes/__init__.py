"""Jobs whose worker died: requeued, and given up if they are what kills their workers."""
