"""What the API asks the process that counts prompts, and its answer."""

from wire.counting.question import CountAnswer, CountQuestion

__all__ = ["CountAnswer", "CountQuestion"]
