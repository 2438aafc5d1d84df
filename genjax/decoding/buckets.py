"""Few shapes for all lengths, so that a new prompt seldom compiles a program."""

from dataclasses import dataclass

from genjax.errors import RequestError

SMALLEST = 16  # slots; below it a shorter shape saves nothing


@dataclass(frozen=True, order=True)
class Bucket:
    """The static lengths of a batch: slots for prompts, and tokens that the output can hold."""

    prompt: int
    capacity: int


def power_of_two(number: int, smallest: int = 1) -> int:
    """The lowest power of two that is at least `number` and at least `smallest`."""
    return max(1 << max(number - 1, 0).bit_length(), smallest)


def half_step(number: int) -> int:
    """The lowest of 3, 4, 6, 8, 12, 16, 24, 32, 48, ... that is at least `number`.

    Every slot costs every step memory traffic; powers of two alone would have up to twice as many slots as tokens.
    """
    power = power_of_two(number, 4)
    return power * 3 // 4 if number <= power * 3 // 4 else power


def bucket(prompt_length: int, new_tokens: int, context_length: int, smallest: int = SMALLEST) -> Bucket:
    """The shapes for a prompt of `prompt_length` tokens and `new_tokens` more.

    Prompt slots are powers of two, at least `smallest`, all slots together powers of two or one and a half times one, capped so
    that they fit the context. Near the context's end the prompt has exactly the slots that the new tokens leave.

    Raises:
        RequestError: the prompt is empty, or does not fit into the context with what is to be written.
    """
    if prompt_length < 1:
        raise RequestError("the prompt has no tokens; give at least one character.")
    if prompt_length >= context_length:
        raise RequestError(
            f"the prompt has {prompt_length:,} tokens, but the model's context holds {context_length:,}; shorten the prompt to "
            f"at most {context_length - 1:,} tokens."
        )
    if prompt_length + new_tokens > context_length:
        raise RequestError(
            f"the prompt has {prompt_length:,} tokens and max_new_tokens is {new_tokens:,}, but the model's context holds "
            f"{context_length:,}; set max_new_tokens to at most {context_length - prompt_length:,}, or shorten the prompt."
        )
    prompt = min(power_of_two(prompt_length, smallest), context_length - new_tokens)
    slots = min(half_step(prompt + new_tokens), context_length)
    return Bucket(prompt, max(slots - prompt, 1))
