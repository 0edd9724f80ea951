"""Tables and figures from records; they read records and nothing else."""
