"""Scans: quantities over a grid of settings, on one machine or a cluster."""
