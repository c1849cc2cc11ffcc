"""From a completion to a reward: code extraction, the sandbox and reward functions."""
