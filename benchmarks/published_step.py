"""The straightforward form of a step of the published recipe, for `rl_step.py` to compare with.

Every view runs over prompt and completion with the logits of all positions and their log-softmax;
the old policy is scored in every inner iteration, groups without variance are scored as well, and
one token a step is sampled.
"""

from typing import Any


def published_update(bench: Any, batch: Any, weights_B: Any, step: int) -> float:
    """Old and reference policy scored for every iteration, then new, loss and AdamW."""
    import torch

    from diffucoder.engine.loop import learning_rate
    from diffucoder.rl.objectives.grpo import clipped_loss
    from diffucoder.rl.update import row_generators

    params, training = bench.params, bench.params.training
    if not hasattr(bench.policy, "its_optimizer"):
        options = training.optimizer
        bench.policy.its_optimizer = torch.optim.AdamW(
            bench.policy.parameters(),
            lr=options.learning_rate,
            betas=tuple(options.betas),
            eps=options.epsilon,
            weight_decay=options.weight_decay,
        )
    optimizer = bench.policy.its_optimizer
    draws = [
        row_generators(bench.context, step, iteration, range(len(weights_B)))
        for iteration in range(params.num_iterations)
    ]
    with torch.no_grad():
        old = [published_scores(bench, bench.policy, batch, own) for own in draws]
        ref = [published_scores(bench, bench.policy_loss.reference, batch, own) for own in draws]
    loss = torch.zeros(())
    objective = params.objective
    for iteration, own in enumerate(draws):
        new_BL = published_scores(bench, bench.policy, batch, own)
        loss, _ = clipped_loss(
            new_BL,
            old[iteration],
            weights_B,
            batch.completion_mask,
            objective.epsilon,
            float(batch.completion_mask.sum()),
            ref[iteration],
            objective.beta,
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(bench.policy.parameters(), training.optimizer.max_grad_norm)
        updates = step * params.num_iterations + iteration
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(updates, training)
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def published_scores(bench: Any, model: Any, batch: Any, draws: list[Any]) -> Any:
    """Log-likelihoods `[B, L]` from the logits of every position in every view."""
    import torch

    from diffucoder.diffusion.corruption import mask_tokens
    from diffucoder.model.positions import position_ids
    from diffucoder.model.shift import aligned_logits

    estimator = bench.policy_loss.estimator
    generators = [generator.clone_state() for generator in draws]
    attended_BT = torch.cat([batch.prompt_mask, batch.context_mask], 1)
    total_BL = torch.zeros(batch.completion_ids.shape)
    for view in estimator.views(batch, generators):
        noised_BL = mask_tokens(batch.completion_ids, view.masked, bench.special.mask)
        logits_BTV = model(
            torch.cat([batch.prompt_ids, noised_BL], 1),
            attention_mask=attended_BT,
            position_ids=position_ids(attended_BT),
        ).logits
        scores_BTV = aligned_logits(logits_BTV).float().log_softmax(-1)
        own_BLV = scores_BTV[:, batch.prompt_ids.shape[1] :]
        chosen_BL = own_BLV.gather(2, batch.completion_ids[..., None])[..., 0]
        chosen_BL = chosen_BL * (view.masked & batch.completion_mask)
        if view.probability is not None:
            chosen_BL = chosen_BL / view.probability[:, None]
        total_BL = total_BL + chosen_BL
    return total_BL / estimator.divisor


def sample_one_a_step(bench: Any, prompts: list[list[int]], step: int) -> Any:
    """Completions with one token a step, the logits of all positions each time: `[B, L]`."""
    import torch

    from diffucoder.model.positions import position_ids
    from diffucoder.model.shift import aligned_logits
    from diffucoder.rl.batch import complete

    decoding, mask = bench.params.decoding, bench.special.mask
    draws = torch.Generator().manual_seed(step)
    asked = complete(prompts, prompts, bench.special.pad)
    prompt_BQ = asked.prompt_ids
    canvas_BL = torch.full((len(prompts), decoding.max_new_tokens), mask)
    attended_BT = torch.cat([asked.prompt_mask, torch.ones_like(canvas_BL).bool()], 1)
    positions_BT = position_ids(attended_BT)
    with torch.inference_mode():
        for _ in range(decoding.max_new_tokens):
            logits_BTV = bench.policy(
                torch.cat([prompt_BQ, canvas_BL], 1),
                attention_mask=attended_BT,
                position_ids=positions_BT,
            ).logits
            masked_BL = canvas_BL == mask
            logits_NV = aligned_logits(logits_BTV)[:, prompt_BQ.shape[1] :][masked_BL]
            logits_NV[:, mask] = -torch.inf
            probs_NV = nucleus((logits_NV / decoding.temperature).softmax(-1), decoding.top_p)
            tokens_N = torch.multinomial(probs_NV, 1, generator=draws)[:, 0]
            certainty_N = (probs_NV * probs_NV.clamp(min=1e-10).log()).sum(-1)
            certainty_BL = torch.full(canvas_BL.shape, -torch.inf)
            certainty_BL[masked_BL] = certainty_N
            proposed_BL = canvas_BL.clone()
            proposed_BL[masked_BL] = tokens_N
            best_B1 = certainty_BL.argmax(1, keepdim=True)
            canvas_BL = canvas_BL.scatter(1, best_B1, proposed_BL.gather(1, best_B1))
    return canvas_BL.clone()


def nucleus(probs_NV: Any, top_p: float) -> Any:
    """The likeliest tokens that together have `top_p`, renormalised."""
    sorted_NV, order_NV = probs_NV.sort(descending=True)
    beyond_NV = sorted_NV.cumsum(-1) - sorted_NV > top_p
    kept_NV = probs_NV.masked_fill(beyond_NV.scatter(1, order_NV, beyond_NV), 0.0)
    return kept_NV / kept_NV.sum(-1, keepdim=True)


def rewards(bench: Any, tasks: list[Any], batch: Any, sandbox: Any) -> Any:
    """The reward of each completion, after all of them were sampled."""
    import torch

    from diffucoder.rewards.extract import extract_code
    from diffucoder.rewards.functions import RewardRecord, score

    tokens = [
        ids[mask].tolist()
        for ids, mask in zip(batch.completion_ids, batch.completion_mask, strict=True)
    ]
    texts = bench.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    codes = [extract_code(text) for text in texts]
    programs = [task.problem.program(code or "") for code, task in zip(codes, tasks, strict=True)]
    verdicts = sandbox.run(programs)
    records = [
        RewardRecord(task.problem.prompt, text, code, verdict)
        for task, text, code, verdict in zip(tasks, texts, codes, verdicts, strict=True)
    ]
    return torch.tensor(score(records, bench.params.rewards)[0])
