"""Run files and presets."""
