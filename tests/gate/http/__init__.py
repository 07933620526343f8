"""The official SDKs, pointed at the simulator as the migration guide says."""
