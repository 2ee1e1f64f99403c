"""Models computed by their published formulas, where a library says the wrong thing."""
