"""The ONNX file itself: safe loading, facts, sessions, atomic saving."""
