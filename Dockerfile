# The command line of snacs-onnx for CPUs, without rights and without a network at run time:
#   docker build -t snacs-onnx .
#   docker run --rm --network none -v "$PWD:/work" snacs-onnx compress model.onnx --data samples.npz
# The build needs a network (PyPI); what is mounted at /work has to be writable by user 10001.
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/snacs \
 && /opt/snacs/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[cpu,images]'

FROM python:3.12-slim
COPY --from=build /opt/snacs /opt/snacs
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin snacs
USER 10001
WORKDIR /work
ENV OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["/opt/snacs/bin/snacs-onnx"]
CMD ["--help"]
