"""Layers that two or more papers share, or that one paper has and torch lacks."""
