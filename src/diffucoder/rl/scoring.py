"""From completions to verdicts and rewards: extract the code, run its tests, apply the rewards."""

from collections.abc import Sequence

from diffucoder.config.grpo import GrpoParams
from diffucoder.decoding import Completion
from diffucoder.rewards.extract import extract_code
from diffucoder.rewards.functions import RewardRecord, score
from diffucoder.rl.feedback import process_rewards
from diffucoder.rl.groups import ScoredCompletion
from diffucoder.rl.tasks import Task
from diffucoder.sandbox import Sandbox


def score_completions(
    tasks: Sequence[Task],
    completions: Sequence[Completion],
    texts: Sequence[str],
    sandbox: Sandbox,
    params: GrpoParams,
    in_training: bool,
) -> list[ScoredCompletion]:
    """Run the tests of B completions and compute their rewards.

    Args:
        tasks: The task of each completion.
        completions: B completions as the sampler returned them.
        texts: Their tokens as text.
        sandbox: Where their programs run.
        params: The stage's parameters: rewards and their weights.
        in_training: Whether the completions are trained on. Executed lines are recorded and
            process rewards computed only then.

    Returns:
        The scored completions, in the same order.
    """
    texts = [task.prefix_hint + text for task, text in zip(tasks, texts, strict=True)]
    codes = [extract_code(text) for text in texts]
    programs = [task.problem.program(code or "") for code, task in zip(codes, tasks, strict=True)]
    verdicts = sandbox.run(programs, executed_lines=in_training and params.executed_only)
    records = [
        RewardRecord(task.problem.prompt, text, code, verdict)
        for task, text, code, verdict in zip(tasks, texts, codes, verdicts, strict=True)
    ]
    rewards, parts = score(records, params.rewards)
    if in_training and params.process_weight > 0:
        shares = process_rewards(sandbox, tasks, codes)
        rewards = [
            reward + params.process_weight * share
            for reward, share in zip(rewards, shares, strict=True)
        ]
        parts = [part | {"process": share} for part, share in zip(parts, shares, strict=True)]
    return [
        ScoredCompletion(*row)
        for row in zip(completions, texts, verdicts, rewards, parts, strict=True)
    ]
