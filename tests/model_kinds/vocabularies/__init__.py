"""Vocabularies of tokenisers whose files no package writes."""
