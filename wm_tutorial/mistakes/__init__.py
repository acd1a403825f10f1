"""What the checks and the bug zoo share: what a part is, what a mistake is, and how one is let out in the package.

The checks (`wm_tutorial.check`) name mistakes in what a reader wrote; the zoo (`wm_tutorial.zoo`) lets them out.
"""
