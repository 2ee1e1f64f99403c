"""Facts about models that API and worker share."""
