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


def bucket(prompt_length: int, new_tokens: int, context_length: int) -> Bucket:
    """The shapes for a prompt of `prompt_length` tokens and `new_tokens` more.

    Prompt slots, and all slots together, are powers of two, capped so that all slots fit the context. Near the context's
    end the prompt has exactly the slots that the new tokens leave.

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
    prompt = min(power_of_two(prompt_length, SMALLEST), context_length - new_tokens)
    slots = min(power_of_two(prompt + new_tokens), context_length)
    return Bucket(prompt, max(slots - prompt, 1))
