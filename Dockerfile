# The packages of a study, for a machine with Docker; the project itself is mounted (docs/gpu.md):
#
#   docker build --tag shotcount .
#   docker run --rm --init --user "$(id -u):$(id -g)" --volume "$PWD:/study" shotcount
#
FROM python:3.11-slim-bookworm

# DVC needs git, which trusts the mounted project whoever owns it, and a name for the commits of
# experiments, if the project has none. Mitsuba, for the demo, needs libatomic1.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git libatomic1 \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system safe.directory /study \
    && git config --system user.name shotcount \
    && git config --system user.email shotcount@localhost

# PyPI's torch brings CUDA. Another index may have one for CPUs, which is smaller by gigabytes.
ARG PIP_EXTRA_INDEX_URL

WORKDIR /study
COPY requirements.txt ./
RUN pip install --no-cache-dir --requirement requirements.txt

# The command `shotcount`, whose code is that of the mounted project.
COPY pyproject.toml README.md ./
COPY src src
RUN pip install --no-cache-dir --no-deps --editable .

# Any user may run it (docker run --user). DVC asks for the user's name, libraries for a home to write to.
USER 1000:1000
ENV USER=shotcount LOGNAME=shotcount HOME=/tmp
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

CMD ["dvc", "repro"]
