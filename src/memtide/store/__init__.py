"""What must outlive a crash: original sizes and settings, actions with their outcomes, events, records."""
