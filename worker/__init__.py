"""Generation: takes jobs from RQ, runs them in one continuous batch, writes every token to the
token log.

Imports wire and rq; mlx only inside the backends. Never imports api.
"""
