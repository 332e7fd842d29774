"""The nouns of memtide: readings, snapshots, decisions, actions, outcomes, records. Values only, no behaviour."""
