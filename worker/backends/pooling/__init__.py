"""Models that make vectors or scores of texts: embedding models and rerankers."""
