"""The networks, one file for each paper: pure modules that know torch and dltk.layers only."""
