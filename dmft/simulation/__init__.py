"""Gradient descent at finite dimension."""
