"""Pictures and small experiments that only a lesson needs; one module for the notebook of its number."""
