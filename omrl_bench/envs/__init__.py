"""Environment families: task tables, single Gymnasium environments, batched simulation."""
