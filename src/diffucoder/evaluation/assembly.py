"""From a completion to the program that is tested."""

from diffucoder.data.tokenizer import MASK
from diffucoder.evaluation.suites.options import Extraction, Style
from diffucoder.rewards.extract import extract_code
from diffucoder.rewards.sanitise import sanitise

# Where a base model's completion of a function has ended (the stop strings EvalPlus uses).
STOPS = ("\ndef ", "\nclass ", "\nassert ", "\nif __name__", "\nprint(", "\n```", "\n#", "\n@")


def assemble(
    prompt: str,
    text: str,
    style: Style = "instruct",
    extraction: Extraction = "fenced",
    entry_point: str | None = None,
) -> str | None:
    """The program that a completion amounts to.

    Args:
        prompt: The problem's prompt.
        text: The model's completion.
        style: `instruct` takes a program out of the answer; `completion` continues the prompt
            up to the first of `STOPS`; `infilling` puts the text into the prompt's hole.
        extraction: `fenced` takes the code block of an answer, and a continued prompt as it is;
            `sanitised` takes from either what `diffucoder.rewards.sanitise` makes of it.
        entry_point: The function that the tests call, which sanitising keeps.

    Returns:
        Source of the program, or None where the completion holds none.
    """
    if style == "infilling":
        return prompt.replace(MASK, text)
    if style == "completion":
        ends = [at for stop in STOPS if (at := text.find(stop)) >= 0]
        text = prompt + text[: min(ends, default=len(text))]
    if extraction == "sanitised":
        return sanitise(text, entry_point)
    return text if style == "completion" else extract_code(text)
