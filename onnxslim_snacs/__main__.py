"""`python -m onnxslim_snacs` is `snacs-onnx`."""

from onnxslim_snacs.cli import main

if __name__ == "__main__":
    main()
