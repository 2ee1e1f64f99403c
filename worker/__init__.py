"""Generation: runs RQ jobs in continuous batches and writes every token to the token log.

Imports wire and rq; mlx only inside the backends. Never imports api.
"""
