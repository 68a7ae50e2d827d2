"""Operators that have weights."""

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
