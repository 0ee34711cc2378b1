"""KL-constrained distributionally robust optimization (book: Softmax loss is a robust loss)."""
