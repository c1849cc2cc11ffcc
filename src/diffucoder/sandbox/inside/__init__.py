"""The processes of the sandbox; they run without site-packages and import only each other.

judge.py   trusted: runs the tests and never the candidate's code
zygote.py  trusted: locks itself down, then forks one guest for each program
guest.py   untrusted from the moment the candidate's code runs in it
"""
