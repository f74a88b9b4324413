"""What the label alone decides: hard directions' exponents and the algorithmic threshold."""
