"""Every known mistake, once: what it does to the package, and what a reader's function with it returns.

The bug zoo (`wm_tutorial.zoo`) lets them out in the package; the checks (`wm_tutorial.check`) name them in what a reader
wrote. A module here is an area: the parts readers build in it, and the mistakes that are made there.
"""
