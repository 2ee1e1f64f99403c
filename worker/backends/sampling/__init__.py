"""From logits to the next token: samplers, logits processors, grammars."""
