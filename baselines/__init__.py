"""Methods and backbones: one file each."""
