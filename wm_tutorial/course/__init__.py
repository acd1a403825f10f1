"""What the chapters of the course share."""
