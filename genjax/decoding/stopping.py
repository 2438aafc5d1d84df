"""Stop strings and UTF-8 at the end of a growing text. Host side, on bytes: tokens may hold parts of characters and of words."""

import codecs
from collections.abc import Callable, Sequence

DecodeBytes = Callable[[Sequence[int]], bytes]  # additive: decode(a + b) == decode(a) + decode(b)


class TextStream:
    """The text of one continuation, token by token.

    Text is cut before the stop string that is complete first (of two that end at the same byte, the one that begins first),
    however the tokens arrive. What may still become a stop string or a character is held back.

    Attributes:
        stopped: whether a stop string was found; all later tokens are ignored.
        num_tokens: tokens read, up to the one that completed the stop string.
    """

    def __init__(self, decode_bytes: DecodeBytes, stop: Sequence[str] = ()):
        self.stopped = False
        self.num_tokens = 0
        self._decode_bytes = decode_bytes
        self._stop = [s.encode("utf-8", "surrogatepass") for s in stop]
        self._held = b""
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, tokens: Sequence[int]) -> str:
        """Reads tokens; returns the text that is now certain."""
        if not self._stop:
            self.num_tokens += len(tokens)
            return self._characters.decode(self._decode_bytes(tokens))
        text = ""
        for token in tokens:
            if self.stopped:
                break
            self.num_tokens += 1
            self._held += self._decode_bytes([token])
            text += self._release()
        return text

    def finish(self) -> str:
        """The end: what was held back, with U+FFFD for an unfinished character."""
        held, self._held = self._held, b""
        return self._characters.decode(held, final=True)

    def _release(self) -> str:
        place = find_stop(self._held, self._stop)
        if place is None:
            keep = len(self._held) - possible_stop(self._held, self._stop)
            certain, self._held = self._held[:keep], self._held[keep:]
        else:
            self.stopped = True
            certain, self._held = self._held[:place], b""
        return self._characters.decode(certain)


def cut_text(decode_bytes: DecodeBytes, tokens: Sequence[int], stop: Sequence[str] = ()) -> tuple[str, int, bool]:
    """A `TextStream` in one go: the text before the first stop string, how many tokens that took, whether there was one."""
    stream = TextStream(decode_bytes, stop)
    text = stream.push(tokens)
    return text + stream.finish(), stream.num_tokens, stream.stopped


def find_stop(text: bytes, stop: Sequence[bytes]) -> int | None:
    """Where the stop string begins that is complete first in `text`, or None."""
    places = [(place + len(s), place) for s in stop if (place := text.find(s)) >= 0]
    return min(places)[1] if places else None


def possible_stop(text: bytes, stop: Sequence[bytes]) -> int:
    """How many bytes at the end of `text` are the beginning of a stop string."""
    return max((n for s in stop for n in range(1, len(s)) if text.endswith(s[:n])), default=0)
