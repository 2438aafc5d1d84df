"""The sample loop: requests to fixed-shape batches to task.sample to writers."""

from genjax.sampling.loop import Sampler, sample
from genjax.sampling.requests import help_text, make_requests, parse_options
from genjax.sampling.run import open_run, parse_mesh
from genjax.sampling.writers import check_target, full_text, listing, preview, write

__all__ = [
    "Sampler",
    "check_target",
    "full_text",
    "help_text",
    "listing",
    "make_requests",
    "open_run",
    "parse_mesh",
    "parse_options",
    "preview",
    "sample",
    "write",
]
