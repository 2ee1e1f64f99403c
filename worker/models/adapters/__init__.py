"""LoRA adapters: found in the model folders, and in memory with their bases."""
