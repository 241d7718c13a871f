"""The peer of serve.py: what one writes in an afternoon. FastAPI, sentence-transformers and FAISS in one process."""

import json
import sys

import faiss
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

encoder, corpus, vectors, port, device = sys.argv[1:]
model = SentenceTransformer(encoder, device=device)
with open(corpus, encoding="utf-8") as stream:
    documents = sorted((json.loads(line) for line in stream), key=lambda row: row["_id"], reverse=True)
given = np.load(vectors)
index = faiss.IndexFlatIP(given.shape[1])
index.add(given)
app = FastAPI()


class Asked(BaseModel):
    """A query."""

    query: str
    top_k: int = 10
    mode: str = "dense"


@app.get("/healthz")
def healthz() -> dict[str, str]:
    """That it is there."""
    return {"status": "ok"}


@app.post("/v1/search")
def search(asked: Asked) -> dict[str, object]:
    """The best documents; FastAPI runs this in a pool of threads."""
    vector = model.encode([asked.query], normalize_embeddings=True, show_progress_bar=False)
    scores, rows = index.search(vector, asked.top_k)
    hits = [
        {"doc_id": documents[row]["_id"], "score": float(score), "text": documents[row]["text"]}
        for score, row in zip(scores[0], rows[0], strict=True)
    ]
    return {"results": [hits]}


uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")
