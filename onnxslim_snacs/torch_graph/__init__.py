"""An ONNX graph run differentiably in torch, its initializers as parameters under their names.

`network.open_network` reads a graph, `Network.run` runs it, `put_back.with_weights` puts trained
weights back into the same file.  torch is loaded when something is run, and not before.
"""
