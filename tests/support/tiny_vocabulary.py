"""A vocabulary of 13 tokens, for models so small that a test can work their outputs out."""

from diffucoder.data.tokenizer import SpecialIds

VOCABULARY, CONTEXT = 13, 32
MASK, END, PAD = 12, 10, 11
SPECIAL = SpecialIds(mask=MASK, end_of_text=END, turn_start=END, turn_end=END, pad=PAD)
