"""Where work runs that does not hang together: processes of this machine, or a Dask cluster."""
