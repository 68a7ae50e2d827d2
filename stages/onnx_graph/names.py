"""What an exported graph calls its input, float32 (batch, 3, S, S), and its output."""

INPUT, OUTPUT = "input", "logits"
