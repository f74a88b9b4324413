"""Studies made of many solves and runs: algorithmic gap, step sizes, grokking, scaling laws."""
