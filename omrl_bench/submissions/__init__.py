"""Other people's rows: what a submission is, checking, packing and merging it, and what badge it gets."""
