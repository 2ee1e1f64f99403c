"""What the processes agree on: records, Redis names and scripts, the token log, settings, logs.

It knows neither HTTP nor MLX, and imports no other package of the project. RQ is imported by
``wire/rq_jobs.py`` alone.
"""
