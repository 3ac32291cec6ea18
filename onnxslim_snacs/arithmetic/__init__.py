"""The heavy linear algebra, once in numpy and once in torch, behind one interface.

`kernels.Arithmetic` says which functions there are and what they take; `numpy_*` and `torch_*` hold
them, a file for each family; `current.arithmetic()` is what a run computes with.  Arrays go in and
come out as numpy's; what a function keeps between calls (a factor, the state of a reader) stays
where it computes.
"""
