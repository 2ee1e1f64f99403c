"""Draft models: small models that guess ahead for large ones of the same vocabulary, in a batch of
their own beside the decode batch."""
