"""Compile the fused kernels for GPUs that need not be there; one line per kernel: its name, the GPU, bytes of code.

``test_fused.py`` runs this file in a process of its own.
"""

from triton import compile as compile_kernel
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dslstudy.engine import _kernels

SIZES = {"N": 200, "D": 24, "BLOCK_N": 256, "BLOCK_D": 16, "TILE_N": 32, "WIDTH": 32}
CHOICES = {
    "forward": [{"MASKED": True, "WEIGHTED": True, "ONE_TABLE": False}, {"MASKED": False, "WEIGHTED": False}],
    "score": [{"MASKED": True, "ONE_TABLE": True}],
    "finish": [{"MASKED": True}],
    "backward": [{}],
}
INDICES = ("positive_items", "negative_items")
NUMBERS = ("B", "num_items", "run_step", "step", "mask_run_step", "mask_step")


def type_of(parameter):
    name = parameter.name
    if parameter.is_constexpr:
        return "constexpr"
    return "i32" if name in NUMBERS else "*i64" if name in INDICES else "*u8" if name == "mask" else "*fp32"


for capability in (80, 90):
    for name, choices in CHOICES.items():
        for choice in choices:
            kernel = getattr(_kernels, name)
            constants = {**SIZES, "ONE_TABLE": True, **choice}
            source = ASTSource(
                kernel,
                {parameter.name: type_of(parameter) for parameter in kernel.params},
                {p.name: constants[p.name] for p in kernel.params if p.is_constexpr},
            )
            compiled = compile_kernel(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 8})
            print(name, f"sm_{capability}", len(compiled.asm["cubin"]))
