"""WebDataset shards: plain tars whose members share a key, with an index beside them that says where each lies."""
