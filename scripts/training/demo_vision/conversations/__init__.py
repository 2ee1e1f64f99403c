"""Questions about pictures, conversations made of them, and the checks of answers."""
