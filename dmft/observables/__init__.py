"""Averages over fresh data, given weights: test loss and error, alignment."""
