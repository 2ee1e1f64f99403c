"""How many chats get a token in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def widest_batch(*models: Any) -> Iterator[Callable[[], int]]:
    """Watch the classes of these models; what is yielded tells the most rows of one decode step so far."""
    most, kinds = [0], {type(model) for model in models}
    originals = {kind: kind.__call__ for kind in kinds}

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if inputs.shape[1] == 1:
                most[0] = max(most[0], inputs.shape[0])
            return original(self, inputs, *args, **kwargs)

        return call

    try:
        for kind in kinds:
            kind.__call__ = watched(originals[kind])
        yield lambda: most[0]
    finally:
        for kind, original in originals.items():
            kind.__call__ = original
