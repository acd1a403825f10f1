"""Grading what a class hands in: points, what each student got wrong, and what the class misunderstood."""
