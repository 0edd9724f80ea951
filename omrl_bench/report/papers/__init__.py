"""Papers' tables with our numbers beside them."""
