"""Calibration: what a sensor shows -> what it measures, with the standard uncertainty of the result.

Promises: models whose parameters carry their covariance, files a person can read, an evaluation that needs NumPy alone
and is cheap; and (imported only where asked for) fitting to a reference with out-of-time errors, and consistency tests.
Refuses to know streams, stages and command lines: it takes arrays and gives arrays.
"""
