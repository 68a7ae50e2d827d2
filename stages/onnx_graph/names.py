"""What the exported model's file, input, float32 (batch, 3, S, S), and output are called."""

from pathlib import Path

FLOAT_FILE = Path("models/onnx_fp32.onnx")
INPUT, OUTPUT = "input", "logits"
