"""OpenAI's route for embeddings, and the route for reranking that vLLM, Cohere and Jina have."""
