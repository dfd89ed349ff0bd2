"""The evaluation gate: is a candidate good enough to serve?"""
