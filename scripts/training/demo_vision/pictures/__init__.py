"""What the pictures show, and how they are drawn."""
