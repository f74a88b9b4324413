"""Result files, trees of state, and folders bound to one computation."""
