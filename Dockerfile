# docker build -t deep-ecg . && docker run deep-ecg; docker run -p 8000:8000 deep-ecg serve
FROM python:3.11-slim

# The address of torch's CPU index, for a build without CUDA: --build-arg PIP_EXTRA_INDEX_URL=ADDRESS
ARG PIP_EXTRA_INDEX_URL

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MPLCONFIGDIR=/tmp/matplotlib DEEP_ECG_DATA_DIR=/data
# Inside the container `serve` binds all addresses, so that it asks for the token that it prints.
ENV DEEP_ECG_HOST=0.0.0.0
EXPOSE 8000

COPY requirements.txt requirements-pi.txt requirements-serve.txt requirements-dicom.txt /app/
RUN pip install --no-cache-dir -r /app/requirements.txt -r /app/requirements-serve.txt -r /app/requirements-dicom.txt

COPY . /app/
RUN useradd ecg && mkdir --mode=1777 /data /output

# Results, cache and an automatic download go to these two folders; mount them to keep or provide them. Anyone may write
# there, whatever --user says, and a --tmpfs takes the folder's mode. Nothing else is written but scratch files in /tmp.
USER ecg
WORKDIR /output
ENTRYPOINT ["python", "/app/main.py"]
