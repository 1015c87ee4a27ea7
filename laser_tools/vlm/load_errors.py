"""Errors of torch and transformers over a model's folder -> one sentence that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch

from laser_tools.errors import InvalidRequest, LaserError, ModelUnavailable
from laser_tools.vlm.memory_errors import is_out_of_memory

OPTIONAL = {
    "num2words": "num2words", "sentencepiece": "sentencepiece",
    "accelerate": "accelerate", "bitsandbytes": "bitsandbytes", "torchao": "torchao",
    "optimum-quanto": "optimum", "compressed-tensors": "compressed_tensors",
    "gptqmodel": "gptqmodel",
}  # fmt: skip
"""Packages that some processors, device maps or quantisations need and we do not install, and the
module that each brings."""

GPTQ = ("optimum", "gptqmodel")


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Any error as ModelUnavailable: `what` went wrong, its kind, what to do, and no path.

    Libraries raise whatever they like over a damaged folder, the tokenizers bare `Exception`s.
    """
    try:
        yield
    except InvalidRequest as error:  # of a question that we asked: the folder is to blame
        raise ModelUnavailable(f"{what}: {error.public_text}") from error
    except LaserError:
        raise
    except Exception as error:
        raise ModelUnavailable(f"{what} ({type(error).__name__}): {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    if is_out_of_memory(error):
        return "it does not fit into memory; choose a smaller model, or bfloat16 or quantised"
    if isinstance(error, torch.AcceleratorError):
        return "the GPU failed; try again in a new process, or on another device"
    text = str(error).lower()
    if "torchvision" in text and not find_spec("torchvision"):
        return (
            "it needs torchvision, from the same index as your torch "
            f"({torch.__version__}); pip install torchvision, or 'laser-tools[video]'"
        )
    missing = [name for name, module in OPTIONAL.items() if name in text and not find_spec(module)]
    if "gptq quantized" in text:
        missing = [name for name in GPTQ if not find_spec(name)]
    if missing:
        return f"it needs a package that is not installed; pip install {' '.join(missing)}"
    if re.search(r"gpu\b.*\b(needed|required)", text):
        return "its quantisation needs a GPU; choose another one, or another machine"
    if "scaled_dot_product" in text:
        return "its architecture has no sdpa attention, which LASER reads; choose another model"
    setting = re.search(r"validation error for field '(\w+)'", text)
    if setting:
        return f"its setting {setting[1]} has a value that cannot be; fetch the model again"
    return "its files are damaged or incomplete; fetch the model again"
