"""What the API's description says beside the shapes: summaries, texts of fields, examples."""
