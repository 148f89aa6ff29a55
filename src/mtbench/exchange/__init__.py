"""Results that travel: other tools' figures as records, records in other tools' formats, and files that others can check.

One file per format. Those that are read have `recognises` and `records`, those that are written `export`; `imports` and
`exports` list them.
"""
