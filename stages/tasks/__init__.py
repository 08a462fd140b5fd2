"""What a network is asked: a module per task, with its targets, its metric and its answers."""
