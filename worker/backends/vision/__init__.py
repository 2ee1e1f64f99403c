"""Images in a prompt: the vision encoder and the tokens that stand for them."""
