"""`wm-tutorial doctor RUN`: evidence from what a run leaves behind, symptoms in it, and the findings, in words."""
