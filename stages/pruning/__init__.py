"""The ways to prune that the stage `prune` offers."""
