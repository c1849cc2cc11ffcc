"""A reward of the user's own; a tiny model writes no program that tests could tell apart."""

from diffucoder.rewards.functions import RewardRecord


def longer_is_better(record: RewardRecord) -> float:
    return float(len(record.completion))
