"""onnxsim as a whole process: simplify, cut half of the channels, save; run by its own Python.

python peer.py MODEL OUT.onnx
"""

import sys

import onnx
import onnxsim

simple, _ = onnxsim.simplify(onnx.load(sys.argv[1]))
onnx.save(onnxsim.apply_structured_pruning(simple, sparsity=0.5), sys.argv[2])
