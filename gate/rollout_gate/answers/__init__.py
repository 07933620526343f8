"""What an answer says of itself: content, finish reason, usage, or a failure inside a 200."""
