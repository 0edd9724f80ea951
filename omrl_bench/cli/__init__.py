"""The command line: one small module per verb. Heavy packages are imported inside the verbs that use them."""
