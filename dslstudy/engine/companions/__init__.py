"""What some losses carry along besides the model: estimates made now and then, variables of their own."""
