"""Operators that take part of their work from weights."""

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
