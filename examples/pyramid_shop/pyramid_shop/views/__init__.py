"""What the shop answers."""
