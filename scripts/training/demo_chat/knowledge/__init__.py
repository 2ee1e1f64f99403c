"""What the small chat model is to know: tables of facts, single facts, small talk, and their phrasings."""
