"""Read the world, never write it. Each source takes its root folder or connection as an argument."""
