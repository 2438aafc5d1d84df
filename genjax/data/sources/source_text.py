"""The text of a program: in the encoding that it declares, with line ends as Python's own reader gives them."""

import io
import tokenize

from genjax.data.sources.document import CodeEncodingErrors
from genjax.data.sources.files import LARGEST, decode_text


def decode_source(content: bytes, encoding_errors: CodeEncodingErrors, where: str, *, python: bool) -> str:
    """The text, every line end a "\\n".

    Args:
        content: a file's bytes; of a file of more than `LARGEST`, that many and one, which counts as text whatever it is.
        where: the file, for the message.
        python: the first lines may name an encoding (PEP 263). What is not text in it is tried as UTF-8.

    Raises:
        DataError: it is no text, and `encoding_errors` is "raise".
    """
    if len(content) > LARGEST:
        text = content.decode("utf-8", "replace")
    else:
        text = _declared(content) if python else None
        if text is None:
            text = decode_text(content, encoding_errors, where)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _declared(content: bytes) -> str | None:
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        return content.decode(encoding)
    except (SyntaxError, ValueError, LookupError):  # LookupError: a codec that does not make text
        return None
