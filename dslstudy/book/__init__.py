"""The pipeline from notebooks to the rendered book."""
