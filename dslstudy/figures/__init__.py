"""Everything that is drawn in the book."""
