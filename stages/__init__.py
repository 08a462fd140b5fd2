"""The work: one module per stage, and what the stages share. Never imports `pipeline`."""
