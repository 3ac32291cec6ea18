"""snacs-onnx."""
