# docker build -t deep-ecg . && docker run deep-ecg
FROM python:3.11-slim

# The address of torch's CPU index, for a build without CUDA: --build-arg PIP_EXTRA_INDEX_URL=ADDRESS
ARG PIP_EXTRA_INDEX_URL

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MPLCONFIGDIR=/tmp/matplotlib DEEP_ECG_DATA_DIR=/data

COPY requirements.txt requirements-pi.txt /app/
RUN pip install --no-cache-dir -r /app/requirements.txt

COPY . /app/
RUN useradd ecg && mkdir --mode=1777 /data /output

# Results, cache and an automatic download go to these two folders; mount them to keep or provide them. Anyone may write
# there, whatever --user says, and a --tmpfs takes the folder's mode. Nothing else is written but scratch files in /tmp.
USER ecg
WORKDIR /output
ENTRYPOINT ["python", "/app/main.py"]
