"""Models: found in folders, downloaded, loaded within a memory budget."""
