"""Change the world and say what it answered. Each has a null twin for observe mode."""
