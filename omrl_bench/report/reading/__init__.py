"""From records to tidy frames, with notes on everything that is missing from them."""
