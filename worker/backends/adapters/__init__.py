"""LoRA adapters: low-rank deltas of a model's linear layers, gathered for each row of a batch."""
