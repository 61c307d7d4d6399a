"""The field's known mistakes (hazards 1–12 of the project's list), each with the tests that fail when it is made.

Every one was made here for a moment, and the test named was seen to fail:

    1   antialias=False for the eager resize; another interpolation kept after loading   preprocess
    2   the channels turned round in zoo/images.py                                       images
    …
"""
