"""A reward of your own: short answers, as long as they are right.

In `conf/local/parameters.yml`, beside the rewards that are there:

    grpo:
      rewards:
        terms:
          short: {function: own_reward.short, weight: 0.2}

    PYTHONPATH=examples .venv/bin/kedro run --pipeline=grpo
"""

from diffucoder.rewards.functions import RewardRecord


def short(record: RewardRecord) -> float:
    """From 1 for a very short program to 0 for a long one; 0 for one that fails a test.

    A reward is a plain function. It may look at the prompt, the completion, the code that was
    found in it and the sandbox's verdict, and returns a finite number.
    """
    if record.code is None or record.verdict.pass_rate < 1:
        return 0.0
    return 0.5 ** (len(record.code) / 200)
