"""Text in and out of a model: chat templates, detokenizers, output parsers."""
