"""Everything between Floodgate and Triton: installing, supervising, the repository, and running batches."""
