"""What makes the prompts of a model: its tokeniser, template and processor, without its weights."""
