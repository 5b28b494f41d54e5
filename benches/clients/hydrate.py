"""python3 hydrate.py URL DIR: downloads a zip and writes its files."""

import io
import sys
import urllib.request
import zipfile

url, directory = sys.argv[1:]
with urllib.request.urlopen(url) as answer:
    archive = io.BytesIO(answer.read())
with zipfile.ZipFile(archive) as files:
    files.extractall(directory)
